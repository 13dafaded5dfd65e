// The camera: as long as its button is held, it takes several pictures a second.

import { make } from "../../document.js";
import { say } from "../../words/words.js";
import { button } from "../parts.js";

const REST_MS = 125;
// Who cannot hold a button gets a series of this length by one press.
const SERIES_MS = 2000;
const CLICK_MS = 300;
const SIDE = 960;
const QUALITY = 0.92;

/**
 * A panel that opens within a box and hands on what it takes: `taken(box, name, blob)`. It takes no more while
 * `isBehind(box)`, and ends with the view.
 */
export function cameraPanel(taken, isBehind, signal) {
  let stream = null;
  let box = null;
  let recording = null;
  let device = null;
  let isHeld = false;
  const video = make("video", { playsinline: true, muted: true, "aria-label": say("camera.video") });
  video.muted = true;
  const wrong = make("p", { class: "why", role: "alert", hidden: true });
  const told = make("p", { class: "small faint", text: say("camera.hint") });
  const record = button(say("camera.hold"), () => {}, { class: "main hold" });
  const one = button(say("camera.one"), () => take(series(), 1));
  const other = button(say("camera.other"), otherCamera, { hidden: true });
  const close = button(say("camera.close"), () => panel.close());
  const panel = make("div", { class: "camera", role: "group", "aria-label": say("camera.title") }, make("div", { class: "screen" }, video), make("div", { class: "camera-words" }, make("div", { class: "buttons" }, record, one, other, close), told, wrong));

  panel.open = async (where) => {
    panel.close();
    box = where;
    box.querySelector(".camera-place").append(panel);
    await start({ facingMode: "environment" });
    record.focus();
  };
  panel.close = () => {
    end();
    for (const track of stream?.getTracks() ?? []) track.stop();
    stream = null;
    video.srcObject = null;
    const was = box;
    box = null;
    panel.remove();
    was?.querySelector(".open-camera")?.setAttribute("aria-expanded", "false");
  };
  signal.addEventListener("abort", panel.close);
  addEventListener("pagehide", panel.close, { signal });

  async function start(wish) {
    wrong.hidden = true;
    for (const track of stream?.getTracks() ?? []) track.stop();
    try {
      // Browsers hand a camera to pages from this machine or over https alone.
      if (!navigator.mediaDevices) throw new DOMException("", "NotAllowedError");
      const found = await navigator.mediaDevices.getUserMedia({ video: wish, audio: false });
      if (box === null || signal.aborted) {
        for (const track of found.getTracks()) track.stop();
        return; // closed while the browser asked
      }
      stream = found;
      video.srcObject = stream;
      await video.play();
      device = stream.getVideoTracks()[0].getSettings().deviceId ?? null;
      other.hidden = (await cameras()).length < 2;
    } catch (problem) {
      wrong.textContent = say(`camera.${{ NotAllowedError: "denied", NotFoundError: "absent" }[problem.name] ?? "failed"}`);
      wrong.hidden = false;
    }
  }

  async function cameras() {
    return (await navigator.mediaDevices.enumerateDevices()).filter(({ kind }) => kind === "videoinput");
  }

  async function otherCamera() {
    const found = await cameras();
    const next = found[(found.findIndex(({ deviceId }) => deviceId === device) + 1) % found.length];
    if (next) await start({ deviceId: { exact: next.deviceId } });
  }

  async function frame() {
    if (!stream || !video.videoWidth) return null;
    const scale = Math.min(1, SIDE / Math.max(video.videoWidth, video.videoHeight));
    const canvas = make("canvas", { width: Math.round(video.videoWidth * scale), height: Math.round(video.videoHeight * scale) });
    canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
    return new Promise((settle) => canvas.toBlob(settle, "image/jpeg", QUALITY));
  }

  /** By this name the training knows which pictures are of one recording. */
  function series() {
    const now = new Date();
    const two = (number) => String(number).padStart(2, "0");
    const day = `${now.getFullYear()}${two(now.getMonth() + 1)}${two(now.getDate())}`;
    return `series-${day}-${two(now.getHours())}${two(now.getMinutes())}${two(now.getSeconds())}`;
  }

  async function take(name, number) {
    const where = box;
    const blob = await frame();
    if (blob && where && where === box) taken(where, `${name}-${String(number).padStart(4, "0")}.jpg`, blob);
    return blob !== null;
  }

  async function begin() {
    if (recording) return;
    const mine = { name: series() };
    recording = mine;
    record.textContent = say("camera.recording");
    panel.classList.add("is-recording");
    for (let number = 1; recording === mine && !signal.aborted; ) {
      if (box && !isBehind(box) && (await take(mine.name, number))) number += 1;
      await new Promise((go) => setTimeout(go, REST_MS));
    }
  }

  function end() {
    recording = null;
    record.textContent = say("camera.hold");
    panel.classList.remove("is-recording");
    // A click, if one comes, comes at once.
    setTimeout(() => {
      isHeld = false;
    }, CLICK_MS);
  }

  const hold = (event) => {
    event.preventDefault();
    isHeld = true;
    begin();
  };
  record.addEventListener("pointerdown", (event) => {
    record.setPointerCapture(event.pointerId);
    hold(event);
    record.focus();
  });
  for (const kind of ["pointerup", "pointercancel", "lostpointercapture", "keyup", "blur"]) record.addEventListener(kind, end);
  record.addEventListener("keydown", (event) => {
    if (event.key !== " " && event.key !== "Enter") return;
    if (event.repeat) event.preventDefault();
    else hold(event);
  });
  record.addEventListener("contextmenu", (event) => event.preventDefault()); // a long touch
  record.addEventListener("click", () => {
    // Programs that read a page aloud press without holding.
    if (!isHeld) {
      begin();
      setTimeout(end, SERIES_MS);
    }
    isHeld = false;
  });
  return panel;
}
