// Pictures on their way into sets: few at a time, in their order. They go on when the view is left, but not the page.

import * as studio from "../ask.js";

const MOST_AT_ONCE = 2;
const due = [];
const boxes = new Map();
let numAtWork = 0;

const keyOf = (source, name) => `${source}\n${name}`;

/** Tell a box what becomes of the pictures of its class: `added`, `refused`, `waiting`; the last one of a class is told. */
export function listen(source, box) {
  boxes.set(keyOf(source, box.dataset.name), box);
  box.waiting(numOf(source, box.dataset.name));
}

/** How many pictures of a class wait for their turn. */
export const numOf = (source, name) => due.filter((one) => one.source === source && one.name === name).length;

/** Send a picture into a class. */
export function send(source, name, file, blob) {
  due.push({ source, name, file, blob });
  boxes.get(keyOf(source, name)).waiting(numOf(source, name));
  if (numAtWork < MOST_AT_ONCE) work();
}

async function work() {
  numAtWork += 1;
  while (due.length > 0) {
    const { source, name, file, blob } = due.shift();
    const box = () => boxes.get(keyOf(source, name));
    try {
      const told = await studio.addPicture(source, name, file, blob);
      box().added(told);
    } catch (problem) {
      box().refused(file, problem);
      // Who cannot be reached now is not asked for each of a thousand.
      if (problem instanceof studio.Gone) for (const one of due.splice(0)) boxes.get(keyOf(one.source, one.name)).refused(one.file, problem);
    }
    box().waiting(numOf(source, name));
  }
  numAtWork -= 1;
}

addEventListener("beforeunload", (event) => {
  if (numAtWork > 0) event.preventDefault(); // what waits would be lost
});

/** The files of a drop, those in folders, too. */
export async function filesOf(transfer) {
  const entries = [...transfer.items].filter(({ kind }) => kind === "file").map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile());
  const found = [];
  for (const entry of entries) if (entry) await gather(entry, found);
  return found;
}

async function gather(entry, found) {
  if (entry instanceof File) found.push(entry);
  else if (entry.isFile) found.push(await new Promise((settle, fail) => entry.file(settle, fail)));
  else {
    const reader = entry.createReader();
    // A browser hands on a hundred at a time.
    for (let part = await read(reader); part.length > 0; part = await read(reader)) {
      for (const inner of part) await gather(inner, found);
    }
  }
}

const read = (reader) => new Promise((settle, fail) => reader.readEntries(settle, fail));
