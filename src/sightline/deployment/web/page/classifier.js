"use strict";
// The worker that answers, and what is waiting for it.

class Classifier {
  constructor() {
    this.waiting = new Map();
    this.count = 0;
    this.worker = null;
  }

  // Runtime and network are scripts: a page that was opened as a file may read nothing else.
  async start(onProgress) {
    if (SIGHTLINE_BUNDLE.isWhole) await parsed();
    else await loadScript("runtime.js");
    onProgress(0.4);
    if (!SIGHTLINE_BUNDLE.isWhole) await loadScript("network.js");
    onProgress(0.8);
    const opened = await this.open();
    onProgress(1);
    return opened;
  }

  // Where both are there.
  async open() {
    const program = new Blob([SIGHTLINE_RUNTIME.script, "\n", SIGHTLINE_ENGINE], { type: "text/javascript" });
    this.worker = new Worker(URL.createObjectURL(program));
    this.worker.onmessage = ({ data }) => this.settle(data);
    this.worker.onerror = (event) => this.fail(event.message || "worker");
    const { wasm, glue } = SIGHTLINE_RUNTIME;
    const values = { runtime: { wasm, glue }, network: SIGHTLINE_NETWORK, about: SIGHTLINE_BUNDLE.about };
    SIGHTLINE_RUNTIME = SIGHTLINE_NETWORK = null; // megabytes that nobody needs twice
    return this.ask("open", values);
  }

  ask(duty, values, handedOver = []) {
    const id = ++this.count;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage({ id, duty, ...values }, handedOver);
    });
  }

  settle({ id, result, error }) {
    const { resolve, reject } = this.waiting.get(id);
    this.waiting.delete(id);
    if (error === undefined) resolve(result);
    else reject(new Error(error));
  }

  fail(reason) {
    for (const { reject } of this.waiting.values()) reject(new Error(reason));
    this.waiting.clear();
  }
}

// Of a page in one file, both stand at its end.
function parsed() {
  return new Promise((resolve) => {
    if (document.readyState !== "loading") resolve();
    else document.addEventListener("DOMContentLoaded", resolve);
  });
}

function loadScript(name) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = name;
    script.onload = resolve;
    script.onerror = () => reject(new Error(`${name} is missing`));
    document.head.append(script);
  });
}
