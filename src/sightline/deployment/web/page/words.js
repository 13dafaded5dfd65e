"use strict";
// What the page says, in English and in Chinese.

const WORDS = {
  en: {
    language: "中文",
    skip: "To the answers",
    private: "Everything happens on this device: no picture leaves it.",
    summary: ({ count }) => `Tells ${count} classes apart.`,
    "summary-labels": ({ count }) => `Tells which of ${count} labels a picture has, several or none.`,
    give: "Give it a picture",
    ways: "Where pictures come from",
    files: "Pictures",
    camera: "Camera",
    drawing: "Draw",
    drop: "Drop pictures here, or paste one",
    choose: "Choose pictures",
    view: "What the camera sees",
    "camera-off": "The camera is off.",
    "camera-start": "Turn the camera on",
    "camera-take": "Take a picture",
    "camera-turn": "Other camera",
    "camera-stop": "Turn it off",
    "camera-refused": "The camera may not be used here, or there is none. Allow it in the browser, or choose a picture.",
    live: "Keep answering",
    paper: "Paper to draw on with a finger or a mouse",
    "draw-here": "Draw one sign, large and in the middle. It is answered when you lift the pen.",
    clear: "Clear",
    careful: "How careful it is",
    invert: "Turn light into dark, for ink on paper and such",
    about: "About this classifier",
    more: "Settings and notes",
    answers: "Answers",
    save: "Save as CSV",
    remove: "Remove all",
    loading: "Loading the network…",
    "loading-failed": "The classifier cannot be started in this browser. A current Chrome, Edge, Firefox or Safari can.",
    empty: "No picture yet.",
    waiting: ({ count }) => (count === 1 ? "1 picture to go" : `${count} pictures to go`),
    unsure: "Unsure",
    "unsure-more": ": not certain enough to be relied on.",
    novel: "Unlike anything it learned",
    "novel-more": ": the answer may mean nothing.",
    inverse: "Looks like the inverse of what it learned.",
    turn: "Turn light into dark",
    set: ({ names, level }) => `With ${level} coverage it is one of: ${names}`,
    "set-one": ({ names, level }) => `With ${level} coverage it is: ${names}`,
    "set-labels": ({ names, level }) => `These hold ${level} of the labels of such pictures: ${names}`,
    "set-none": ({ level }) => `To hold ${level} of the labels of such pictures, none need be named here.`,
    "no-label": "None of its labels",
    took: ({ time }) => `${time} ms`,
    drawn: "Drawing",
    taken: "Camera",
    pasted: "Pasted picture",
    "cannot-open": "This browser cannot open the file. Save it as JPEG or PNG.",
    "too-large": "The picture is too large. Save it smaller.",
    "no-number": "The network gave no number for it.",
    "not-images": ({ count }) => (count === 1 ? "1 file is no picture." : `${count} files are no pictures.`),
    spoken: ({ name, label, share }) => `${name}: ${label}, ${share}.`,
    "sets-level": "Name every class that it may be, so that the right one is among them for",
    "unsure-level": "Mark answers as unsure, so that of the others are wrong at most",
    "novel-level": "Mark pictures unlike those it learned, and of others by mistake at most",
    "labels-level": "Name every label that it may have, so that among those named are, on average",
    "level-of": ({ level }) => `${level} of pictures`,
    "level-labels": ({ level }) => `${level} of its labels`,
    "level-answers": ({ level }) => `${level} of answers`,
    off: "off",
    "no-promises": "Nothing is promised for this network: there were no images to measure it on.",
    like: "These shares hold for pictures like those it was measured on. For others, nothing is promised.",
    "about-classes": "Classes",
    "about-labels": "Labels",
    "about-input": "Sees",
    "about-input-value": ({ height, width, colors }) => `${width} × ${height} pixels, ${colors}`,
    rgb: "in colour",
    grey: "in grey",
    "about-measured": "Measured on",
    "about-measured-value": ({ count }) => `${count} images that it did not learn from`,
    "about-network": "Network",
    "about-runs": "Runs on",
    "about-runs-value": ({ version, threads }) => `ONNX Runtime ${version}, ${threads === 1 ? "1 thread" : `${threads} threads`}`,
    "about-licences": "Licences",
    "more-classes": ({ count }) => `and ${count} more`,
    
    column: ["file", "label", "confidence", "unsure", "unlike", "set", "error"],
  },
  zh: {
    language: "English",
    skip: "跳到结果",
    private: "一切都在本设备上完成：图片不会离开这里。",
    summary: ({ count }) => `可区分 ${count} 个类别。`,
    "summary-labels": ({ count }) => `判断图片有 ${count} 个标签中的哪些，可有多个，也可没有。`,
    give: "给它一张图片",
    ways: "图片从哪里来",
    files: "图片",
    camera: "相机",
    drawing: "手写",
    drop: "把图片拖到这里，或直接粘贴",
    choose: "选择图片",
    view: "相机画面",
    "camera-off": "相机未打开。",
    "camera-start": "打开相机",
    "camera-take": "拍一张",
    "camera-turn": "换一个相机",
    "camera-stop": "关闭",
    "camera-refused": "这里不能使用相机，或没有相机。请在浏览器中允许，或选择一张图片。",
    live: "持续识别",
    paper: "可用手指或鼠标书写的画板",
    "draw-here": "在中间写一个大字。抬笔后即给出答案。",
    clear: "清除",
    careful: "谨慎程度",
    invert: "明暗反转，例如白纸黑字",
    about: "关于这个分类器",
    more: "设置与说明",
    answers: "结果",
    save: "存为 CSV",
    remove: "全部移除",
    loading: "正在加载网络……",
    "loading-failed": "此浏览器无法启动分类器。请使用较新的 Chrome、Edge、Firefox 或 Safari。",
    empty: "还没有图片。",
    waiting: ({ count }) => `还有 ${count} 张图片`,
    unsure: "不确定",
    "unsure-more": "：把握不足，不应依赖这个答案。",
    novel: "与学过的都不像",
    "novel-more": "：这个答案可能没有意义。",
    inverse: "看起来与学过的图片明暗相反。",
    turn: "反转明暗",
    set: ({ names, level }) => `覆盖率 ${level} 时，是其中之一：${names}`,
    "set-one": ({ names, level }) => `覆盖率 ${level} 时，是：${names}`,
    "set-labels": ({ names, level }) => `这些标签涵盖此类图片标签的 ${level}：${names}`,
    "set-none": ({ level }) => `涵盖此类图片标签的 ${level} 时，这里没有列出标签。`,
    "no-label": "没有任何标签",
    took: ({ time }) => `${time} 毫秒`,
    drawn: "手写",
    taken: "相机",
    pasted: "粘贴的图片",
    "cannot-open": "此浏览器打不开这个文件。请存为 JPEG 或 PNG。",
    "too-large": "图片太大。请缩小后再存。",
    "no-number": "网络没有给出数值。",
    "not-images": ({ count }) => `有 ${count} 个文件不是图片。`,
    spoken: ({ name, label, share }) => `${name}：${label}，${share}。`,
    "sets-level": "列出所有可能的类别，使正确类别在其中的图片占",
    "unsure-level": "标出不确定的答案，使其余答案中错误的至多占",
    "novel-level": "标出与学过的不像的图片，其余图片中误标的至多占",
    "labels-level": "列出所有可能的标签，使列出的平均占图片标签的",
    "level-of": ({ level }) => `${level} 的图片`,
    "level-labels": ({ level }) => `${level}`,
    "level-answers": ({ level }) => `${level} 的答案`,
    off: "关闭",
    "no-promises": "这个网络没有任何承诺：没有图片用来检验它。",
    like: "这些比例只对与检验所用图片相似的图片成立；对其他图片不作承诺。",
    "about-classes": "类别",
    "about-labels": "标签",
    "about-input": "看到的",
    "about-input-value": ({ height, width, colors }) => `${width} × ${height} 像素，${colors}`,
    rgb: "彩色",
    grey: "灰度",
    "about-measured": "检验于",
    "about-measured-value": ({ count }) => `${count} 张未参与学习的图片`,
    "about-network": "网络",
    "about-runs": "运行于",
    "about-runs-value": ({ version, threads }) => `ONNX Runtime ${version}，${threads} 线程`,
    "about-licences": "许可证",
    "more-classes": ({ count }) => `以及另外 ${count} 个`,
    
    column: ["文件", "标签", "置信度", "不确定", "不像", "集合", "错误"],
  },
};

const KEPT_LANGUAGE = "sightline-language";

function preferredLanguage() {
  let kept = null;
  try {
    kept = localStorage.getItem(KEPT_LANGUAGE);
  } catch {
    // A page that may keep nothing asks the browser each time.
  }
  const wanted = kept || navigator.language || "en";
  return wanted.toLowerCase().startsWith("zh") ? "zh" : "en";
}

let language = preferredLanguage();

function word(name, values) {
  const found = WORDS[language][name];
  return typeof found === "function" ? found(values) : found;
}

function percent(share, digits = 1) {
  return new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: digits }).format(share);
}

// Nothing is certain, and nothing impossible.
function sharePercent(share) {
  if (share > 0.9995) return `> ${percent(0.999)}`;
  return share < 0.0005 ? `< ${percent(0.001)}` : percent(share);
}

function number(value) {
  return new Intl.NumberFormat(language).format(value);
}

// Each element names its word in `data-word`, and that of its label in `data-label`.
function showWords() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const element of document.querySelectorAll("[data-word]")) element.textContent = word(element.dataset.word);
  for (const element of document.querySelectorAll("[data-label]")) element.setAttribute("aria-label", word(element.dataset.label));
}

function switchLanguage() {
  language = language === "zh" ? "en" : "zh";
  try {
    localStorage.setItem(KEPT_LANGUAGE, language);
  } catch {
    // It holds until the page is closed.
  }
}
