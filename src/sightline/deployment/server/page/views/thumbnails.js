// Pictures as the page shows them: a browser cannot show all that a server can read, and a plain tile says so.

import { make } from "../document.js";
import { say } from "../words/words.js";

const MOST_AT_ONCE = 2;
const SIDE = 96;
// Pictures up to these sides are shown larger than they are: a few dots as squares, others smooth.
const SMALL = 64;
const MODEST = 320;

const due = [];
let busy = 0;

// Of thousands of rows only those are drawn that come near the window.
const watcher = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) continue;
      watcher.unobserve(target);
      if (!due.includes(target)) due.push(target);
    }
    work();
  },
  { rootMargin: "400px" },
);
const files = new WeakMap();

/** A small picture of a file, drawn when it comes into sight. */
export function thumbnail(file) {
  const canvas = make("canvas", { width: SIDE, height: SIDE, class: "thumb", "aria-hidden": "true" });
  files.set(canvas, file);
  watcher.observe(canvas);
  return canvas;
}

/** Draw all of a table, also what is out of sight, as paper has no sight. */
export async function drawAll(table) {
  for (const canvas of table.querySelectorAll(".thumb:not(.is-drawn, .is-plain)")) {
    watcher.unobserve(canvas);
    if (!due.includes(canvas)) due.push(canvas);
  }
  work();
  while (busy > 0) await new Promise((go) => setTimeout(go, 20));
}

function work() {
  while (busy < MOST_AT_ONCE && due.length > 0) {
    busy += 1;
    draw(due.shift()).finally(() => {
      busy -= 1;
      work();
    });
  }
}

async function draw(canvas) {
  try {
    const image = await createImageBitmap(files.get(canvas));
    const scale = Math.min(SIDE / image.width, SIDE / image.height);
    const [width, height] = [image.width * scale, image.height * scale];
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = Math.max(image.width, image.height) > SMALL;
    context.imageSmoothingQuality = "high";
    context.drawImage(image, (SIDE - width) / 2, (SIDE - height) / 2, width, height);
    image.close();
    canvas.classList.add("is-drawn");
  } catch {
    canvas.classList.add("is-plain");
  }
}

/** The whole picture, or a tile with words; `release` gives its memory back. */
export function picture(file, alt) {
  const address = URL.createObjectURL(file);
  // The answer does not wait until a large picture is drawn.
  const image = make("img", { alt, src: address, decoding: "async" });
  const frame = make("div", { class: "frame" }, image);
  image.addEventListener("load", () => {
    const side = Math.max(image.naturalWidth, image.naturalHeight);
    image.classList.toggle("small", side <= SMALL);
    image.classList.toggle("modest", side > SMALL && side <= MODEST);
  });
  image.addEventListener("error", () => {
    frame.replaceChildren(make("p", { class: "tile", text: say("picture.none") }));
  });
  return { frame, release: () => URL.revokeObjectURL(address) };
}
