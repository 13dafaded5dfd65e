// The camera: what it sees is answered as it runs, and a picture taken goes into the list.

import { liveAnswer } from "./answer.js";
import { byId, tell } from "../document.js";
import { take } from "./intake.js";
import { wordsOf } from "../queue/queue.js";
import { predictPatiently } from "../queue/server.js";
import { asked, on, store } from "../queue/store.js";
import { say } from "../words/words.js";

// A frame for a running answer need not be larger than what networks are fed.
const LIVE_SIDE = 640;
const REST_MS = 120;

let stream = null;
let last = null; // the running answer, as an item
let isRunning = true;
let device = null;
let numTaken = 0;
let turn = 0;

/** Make the buttons of the camera work. */
export function startCamera() {
  byId("open-camera").addEventListener("click", () => (byId("camera").hidden ? open() : close()));
  byId("camera-close").addEventListener("click", close);
  byId("camera-take").addEventListener("click", takePicture);
  byId("camera-other").addEventListener("click", otherCamera);
  byId("camera-run").addEventListener("click", () => {
    isRunning = !isRunning;
    byId("camera-run").setAttribute("aria-pressed", String(isRunning));
  });
  on("line", show);
  addEventListener("pagehide", close);
}

async function open() {
  byId("camera").hidden = false;
  byId("open-camera").setAttribute("aria-expanded", "true");
  byId("camera").scrollIntoView({ block: "nearest" });
  await start({ facingMode: "environment" });
  byId("camera-take").focus();
}

async function start(video) {
  tell("camera-trouble", "");
  stop();
  // Browsers hand a camera to pages from this machine or over https alone.
  if (!navigator.mediaDevices) return tell("camera-trouble", say("camera.insecure"));
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video, audio: false });
  } catch (problem) {
    const key = { NotAllowedError: "denied", NotFoundError: "absent" }[problem.name] ?? "failed";
    return tell("camera-trouble", say(`camera.${key}`));
  }
  if (byId("camera").hidden) return stop(); // closed while the browser asked
  byId("camera-video").srcObject = stream;
  await byId("camera-video").play();
  device = stream.getVideoTracks()[0].getSettings().deviceId ?? null;
  byId("camera-other").hidden = (await cameras()).length < 2;
  return run();
}

const cameras = async () => (await navigator.mediaDevices.enumerateDevices()).filter(({ kind }) => kind === "videoinput");

async function otherCamera() {
  const found = await cameras();
  const place = found.findIndex(({ deviceId }) => deviceId === device);
  const next = found[(place + 1) % found.length];
  if (next) await start({ deviceId: { exact: next.deviceId } });
}

function stop() {
  turn += 1;
  for (const track of stream?.getTracks() ?? []) track.stop();
  stream = null;
  byId("camera-video").srcObject = null;
  last = null;
  show();
}

function close() {
  stop();
  byId("camera").hidden = true;
  byId("open-camera").setAttribute("aria-expanded", "false");
}

async function frame(side, quality) {
  const video = byId("camera-video");
  if (!stream || !video.videoWidth) return null;
  const scale = Math.min(1, side / Math.max(video.videoWidth, video.videoHeight));
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(video.videoWidth * scale);
  canvas.height = Math.round(video.videoHeight * scale);
  canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
  return new Promise((settle) => canvas.toBlob(settle, "image/jpeg", quality));
}

/** Ask again and again, one frame after the other, for as long as the camera is on. */
async function run() {
  const mine = turn;
  while (mine === turn) {
    await new Promise((go) => setTimeout(go, REST_MS));
    if (mine !== turn) return;
    if (!isRunning || document.hidden || !store.model) continue;
    const blob = await frame(LIVE_SIDE, 0.85);
    if (blob) await answer(blob, mine);
  }
}

async function answer(blob, mine) {
  const question = asked();
  try {
    const { row } = await predictPatiently(blob, question, { top: 5 });
    if (mine !== turn) return;
    last = { state: "answered", row, asked: question };
    tell("camera-trouble", "");
    show();
  } catch (problem) {
    if (mine !== turn) return;
    isRunning = false;
    byId("camera-run").setAttribute("aria-pressed", "false");
    tell("camera-trouble", wordsOf(problem));
  }
}

function show() {
  byId("camera-answer").replaceChildren(...(last ? liveAnswer(last, 5) : []));
}

async function takePicture() {
  const blob = await frame(Infinity, 0.92);
  if (!blob) return;
  numTaken += 1;
  const file = new File([blob], `camera-${numTaken}.jpg`, { type: "image/jpeg" });
  take([{ file, name: say("camera.named", { number: String(numTaken) }) }]);
}
