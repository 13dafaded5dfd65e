"use strict";
// The page: what it shows of the bundle, and the way of a picture from where it comes to its answer.

const about = SIGHTLINE_BUNDLE.about;
const classifier = new Classifier();
const answers = new AnswerList(byId("list"), about.labels, () => byId("inverted").click());
const isSeveral = about.task === "multi-label";
const USUAL_NOVELTY = "0.05";
const MOST_NAMED = 30;
const levels = { sets: null, unsure: null, novel: null };
let runsOn = null;
let isStarted = false;

function kinds() {
  return Object.keys(levels).filter((kind) => Object.keys(about.promises[kind]).length);
}

function chooseLevels() {
  // The least error that can be kept; sets are shown where they are asked for.
  levels.unsure = Object.keys(about.promises.unsure)[0] ?? null;
  const kept = Object.keys(about.promises.novel);
  levels.novel = kept.includes(USUAL_NOVELTY) ? USUAL_NOVELTY : (kept[0] ?? null);
}

function levelChoice(kind) {
  const row = element("div", "level");
  const label = element("label", "", word(isSeveral ? "labels-level" : `${kind}-level`));
  const select = element("select");
  select.id = label.htmlFor = `level-${kind}`;
  const unit = isSeveral ? "level-labels" : kind === "unsure" ? "level-answers" : "level-of";
  const texts = Object.keys(about.promises[kind]).map((level) => [level, word(unit, { level: percent(Number(level)) })]);
  for (const [value, text] of [["", word("off")], ...texts]) {
    const option = element("option", "", text);
    option.value = value;
    option.selected = value === (levels[kind] ?? "");
    select.append(option);
  }
  select.addEventListener("change", () => {
    levels[kind] = select.value || null;
    answerAgain();
  });
  row.append(label, select);
  return row;
}

function showCareful() {
  const choices = kinds().map(levelChoice);
  const last = element("p", "faint", word(choices.length ? "like" : "no-promises"));
  byId("careful").replaceChildren(...choices, last);
}

function aboutRows() {
  const { height, width, color_mode: color } = about.input;
  const named = about.labels.slice(0, MOST_NAMED).join(", ");
  const more = about.labels.length - MOST_NAMED;
  const rows = [
    [isSeveral ? "labels" : "classes", more > 0 ? `${named} ${word("more-classes", { count: number(more) })}` : named],
    ["input", word("about-input-value", { height, width, colors: word(color) })],
  ];
  if (about.calibration.num_images) rows.push(["measured", word("about-measured-value", { count: number(about.calibration.num_images) })]);
  rows.push(["network", about.bundle.model_sha256.slice(0, 16)]);
  if (runsOn) rows.push(["runs", word("about-runs-value", runsOn)]);
  return rows;
}

function showAbout() {
  const shown = aboutRows().flatMap(([name, text]) => {
    const value = element("dd", "", text);
    value.dir = "auto";
    return [element("dt", "", word(`about-${name}`)), value];
  });
  const licences = element("dd");
  for (const [name, file, text] of SIGHTLINE_BUNDLE.licences) {
    const link = element("a", "", name);
    link.href = text === undefined ? file : URL.createObjectURL(new Blob([text], { type: "text/plain" }));
    if (text !== undefined) link.download = file;
    licences.append(link, " ");
  }
  byId("about").replaceChildren(...shown, element("dt", "", word("about-licences")), licences);
}

function showState() {
  const count = answers.items.filter((item) => !item.answer && !item.error).length;
  byId("loading").hidden = isStarted;
  byId("empty").hidden = !isStarted || answers.items.length > 0;
  byId("waiting").hidden = !count;
  byId("waiting").textContent = word("waiting", { count });
  for (const id of ["save", "remove"]) byId(id).hidden = !answers.items.length;
}

function showAll() {
  showWords();
  document.title = SIGHTLINE_BUNDLE.title;
  byId("title").textContent = SIGHTLINE_BUNDLE.title;
  byId("summary").textContent = word(isSeveral ? "summary-labels" : "summary", { count: number(about.labels.length) });
  byId("language").textContent = word("language");
  byId("language").lang = language === "zh" ? "en" : "zh-CN";
  showCareful();
  showAbout();
  answers.levels = { ...levels };
  answers.showAll();
  showState();
}

const ERRORS = ["too-large", "no-number"];

async function answerItem(item) {
  await started;
  try {
    const isInverted = byId("inverted").checked;
    item.answer = await classifier.ask("answer", { picture: item.picture, isInverted, levels });
  } catch (error) {
    item.error = ERRORS.includes(error.message) ? error.message : "cannot-open";
  }
  if (!answers.items.includes(item)) return; // removed meanwhile
  answers.show(item);
  byId("said").textContent = answers.spoken(item);
  showState();
}

function take(name, picture) {
  const item = answers.add(name, picture);
  showState();
  answerItem(item);
}

function refuse(count) {
  byId("said").textContent = word("not-images", { count });
}

// What the outputs mean at other levels needs no network.
async function answerAgain() {
  answers.levels = { ...levels };
  for (const item of answers.items.filter((one) => one.answer)) {
    const { logits, novelty } = item.answer;
    Object.assign(item.answer, await classifier.ask("again", { logits, novelty, levels }));
    answers.show(item);
  }
}

async function answerNow(bitmap) {
  const isInverted = byId("inverted").checked;
  const answer = await classifier.ask("answer", { picture: bitmap, isInverted, levels }, [bitmap]);
  const marks = ["novel", "unsure"].filter((kind) => answer[kind]).map((kind) => element("span", `mark ${kind}`, word(kind)));
  const shown = headline(answer, about.labels).flatMap((part) => [part, " "]);
  return [...shown, ...marks];
}

function saveTable() {
  const link = element("a");
  link.href = URL.createObjectURL(new Blob(["\ufeff", answers.table()], { type: "text/csv" }));
  link.download = "answers.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// Only over a network, and not within another page: a file on this device is there anyway.
async function keepForLater() {
  if (SIGHTLINE_BUNDLE.isWhole || !location.protocol.startsWith("http") || !navigator.serviceWorker || window !== parent) return;
  const link = element("link");
  link.rel = "manifest";
  link.href = "manifest.webmanifest";
  document.head.append(link);
  await navigator.serviceWorker.register("sw.js").catch(() => null);
}

async function start() {
  try {
    runsOn = await classifier.start((share) => (byId("loaded").value = share));
  } catch (error) {
    byId("loading").replaceChildren(element("p", "failed", word("loading-failed")), element("p", "faint", String(error.message)));
    byId("loading").setAttribute("role", "alert");
    throw error;
  }
  isStarted = true;
  showAbout();
  showState();
  document.documentElement.dataset.ready = "yes";
  keepForLater();
  return runsOn;
}

chooseLevels();
byId("way-drawing").hidden = !(about.input.channels === 1 && Math.max(about.input.height, about.input.width) <= 64);
setUpTabs();
setUpFiles(take, refuse);
setUpCamera(take, answerNow);
setUpDrawing(take, about.input.background);
byId("language").addEventListener("click", () => {
  switchLanguage();
  showAll();
});
byId("save").addEventListener("click", saveTable);
byId("remove").addEventListener("click", () => {
  answers.clear();
  showState();
  byId("answers").focus();
});
byId("inverted").addEventListener("change", () => answers.items.filter((item) => item.answer).forEach(answerItem));
showAll();
const started = start();
window.sightline = { classifier, started }; // for whoever compares it, or builds on it
