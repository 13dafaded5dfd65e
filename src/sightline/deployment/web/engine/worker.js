"use strict";
// The classifier in a worker of its own, so that the page never waits for it. ONNX Runtime stands above this text.

let session = null;
let description = null;

function unpacked(text) {
  const letters = atob(text);
  const bytes = new Uint8Array(letters.length);
  for (let index = 0; index < letters.length; index++) bytes[index] = letters.charCodeAt(index);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

async function opened({ runtime, network, about }) {
  description = about;
  ort.env.wasm.wasmBinary = await unpacked(runtime.wasm);
  ort.env.wasm.wasmPaths = { mjs: URL.createObjectURL(new Blob([runtime.glue], { type: "text/javascript" })) };
  // More than one needs memory that is shared, which a browser gives only to pages that are kept apart from all others.
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency || 1) : 1;
  session = await ort.InferenceSession.create(new Uint8Array(await unpacked(network)), { executionProviders: ["wasm"] });
  return { threads: ort.env.wasm.numThreads, version: ort.env.versions.web, browser: navigator.userAgent };
}

async function outputsOf(pixels) {
  const { height, width, channels } = description.input;
  const names = ["logits", "novelty"].filter((name) => session.outputNames.includes(name));
  const found = await session.run({ images: new ort.Tensor("uint8", pixels, [1, height, width, channels]) }, names);
  return { logits: Array.from(found.logits.data), novelty: found.novelty ? found.novelty.data[0] : null };
}

// What outputs mean, by what the page says of its network.
function meaning(levels) {
  const { temperature, label_thresholds: thresholds } = description.calibration;
  const isSeveral = description.task === "multi-label";
  return { temperature, thresholds: isSeveral ? thresholds : null, promises: description.promises, levels };
}

async function answered({ picture, isInverted, levels }) {
  const started = performance.now();
  const { pixels, looksInverted } = await networkPixels(picture, description.input, isInverted);
  const prepared = performance.now();
  const { logits, novelty } = await outputsOf(pixels);
  if (!logits.every(Number.isFinite)) throw new Error("no-number");
  const answer = answerOf(logits, novelty, meaning(levels));
  const times = { preparing: prepared - started, answering: performance.now() - prepared };
  return { ...answer, ...times, logits, novelty, looksInverted: looksInverted && !isInverted };
}

// The same outputs at other levels.
function answeredAgain({ logits, novelty, levels }) {
  return answerOf(logits, novelty, meaning(levels));
}

async function onePixels({ picture }) {
  return (await networkPixels(picture, description.input, false)).pixels;
}

async function manyOutputs({ images }) {
  const { height, width, channels } = description.input;
  const size = height * width * channels;
  const found = [];
  for (let at = 0; at < images.length; at += size) found.push(await outputsOf(images.slice(at, at + size)));
  return found;
}

const DUTIES = { open: opened, answer: answered, again: answeredAgain, pixels: onePixels, outputs: manyOutputs };

async function done(data) {
  try {
    self.postMessage({ id: data.id, result: await DUTIES[data.duty](data) });
  } catch (error) {
    self.postMessage({ id: data.id, error: String((error && error.message) || error) });
  }
}

// One after the other: a session answers one picture at a time.
let last = Promise.resolve();
self.onmessage = ({ data }) => {
  last = last.then(() => done(data));
};
