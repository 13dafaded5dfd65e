"use strict";
// Where pictures come from: files, the camera, a drawing. Each hands pictures on to `take(name, blob)`.

const byId = (id) => document.getElementById(id);

function setUpTabs() {
  const tabs = [...byId("ways").children].filter((tab) => !tab.hidden);
  const choose = (chosen) => {
    for (const tab of tabs) {
      const isChosen = tab === chosen;
      tab.setAttribute("aria-selected", String(isChosen));
      tab.tabIndex = isChosen ? 0 : -1;
      byId(tab.getAttribute("aria-controls")).hidden = !isChosen;
    }
    if (chosen.id !== "way-camera") document.dispatchEvent(new Event("camera-left"));
  };
  tabs.forEach((tab, index) => {
    tab.addEventListener("click", () => choose(tab));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      const next = event.key === "Home" ? tabs[0] : event.key === "End" ? tabs[tabs.length - 1] : step && tabs[(index + step + tabs.length) % tabs.length];
      if (!next) return;
      event.preventDefault();
      choose(next);
      next.focus();
    });
  });
}

function isPicture(file) {
  return file.type.startsWith("image/") || /\.(jpe?g|png|webp|gif|bmp|avif|heic|heif|tiff?)$/i.test(file.name);
}

function setUpFiles(take, refuse) {
  const takeAll = (files, usualName) => {
    const pictures = [...files].filter(isPicture);
    for (const file of pictures) take(usualName ? word(usualName) : file.name, file);
    if (pictures.length < files.length) refuse(files.length - pictures.length);
  };
  byId("chosen").addEventListener("change", (event) => {
    takeAll(event.target.files);
    event.target.value = ""; // so that the same file may be chosen again
  });
  document.addEventListener("paste", (event) => {
    if (event.clipboardData.files.length) takeAll(event.clipboardData.files, "pasted");
  });
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    byId("drop").classList.add("is-over");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) byId("drop").classList.remove("is-over");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    byId("drop").classList.remove("is-over");
    takeAll(event.dataTransfer.files);
  });
}

function setUpCamera(take, answerNow) {
  const view = byId("view");
  let facing = "environment";
  let stream = null;
  const show = () => {
    for (const id of ["camera-take", "camera-turn", "camera-stop", "live-choice"]) byId(id).hidden = !stream;
    byId("camera-start").hidden = Boolean(stream);
    byId("camera-word").hidden = Boolean(stream);
    byId("live-answer").hidden = !stream || !byId("live").checked;
  };
  const stop = () => {
    if (stream) for (const track of stream.getTracks()) track.stop();
    stream = view.srcObject = null;
    byId("live").checked = false;
    byId("live-answer").textContent = "";
    show();
  };
  const start = async () => {
    stop();
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: facing }, audio: false });
      view.srcObject = stream;
      await view.play();
      byId("camera-word").dataset.word = "camera-off";
    } catch {
      stream = null;
      byId("camera-word").dataset.word = "camera-refused";
      byId("camera-word").textContent = word("camera-refused");
    }
    show();
  };
  const live = async () => {
    while (stream && byId("live").checked) {
      await new Promise((resolve) => setTimeout(resolve, 100));
      const frame = await createImageBitmap(view).catch(() => null); // there is none while cameras change
      if (frame) byId("live-answer").replaceChildren(...(await answerNow(frame)));
    }
  };
  byId("camera-start").addEventListener("click", start);
  byId("camera-stop").addEventListener("click", stop);
  byId("camera-turn").addEventListener("click", () => {
    facing = facing === "environment" ? "user" : "environment";
    start();
  });
  byId("camera-take").addEventListener("click", () => {
    const canvas = document.createElement("canvas");
    canvas.width = view.videoWidth;
    canvas.height = view.videoHeight;
    canvas.getContext("2d").drawImage(view, 0, 0);
    canvas.toBlob((picture) => take(word("taken"), picture), "image/png");
  });
  byId("live").addEventListener("change", () => {
    show();
    live();
  });
  document.addEventListener("camera-left", stop);
}

// Ink and paper are those that the network knows: light on dark where it learned that.
function setUpDrawing(take, background) {
  const paper = byId("paper");
  const context = paper.getContext("2d");
  const [ground, ink] = background === "dark" ? ["#000", "#fff"] : ["#fff", "#000"];
  let isDrawing = false;
  let isTouched = false;
  const clear = () => {
    context.fillStyle = ground;
    context.fillRect(0, 0, paper.width, paper.height);
    isTouched = false;
  };
  const place = (event) => {
    const box = paper.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * paper.width, ((event.clientY - box.top) / box.height) * paper.height];
  };
  paper.addEventListener("pointerdown", (event) => {
    paper.setPointerCapture(event.pointerId);
    isDrawing = isTouched = true;
    Object.assign(context, { strokeStyle: ink, lineWidth: 22, lineCap: "round", lineJoin: "round" });
    context.beginPath();
    context.moveTo(...place(event));
    context.lineTo(...place(event));
    context.stroke();
  });
  paper.addEventListener("pointermove", (event) => {
    if (!isDrawing) return;
    context.lineTo(...place(event));
    context.stroke();
  });
  const lift = () => {
    if (!isDrawing) return;
    isDrawing = false;
    paper.toBlob((picture) => isTouched && take(word("drawn"), picture), "image/png");
  };
  paper.addEventListener("pointerup", lift);
  paper.addEventListener("pointercancel", lift);
  byId("paper-clear").addEventListener("click", clear);
  clear();
}
