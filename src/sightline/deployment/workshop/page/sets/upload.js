// Pictures on their way into a set: few at a time, in their order, and what cannot be read is said by name.

import * as studio from "../ask.js";

const MOST_AT_ONCE = 2;

/** A queue; `take(box, name, blob)` puts one in, and the box is told: `added`, `refused`, `waiting`. */
export function uploads(source, signal) {
  const due = [];
  let numAtWork = 0;
  async function work() {
    numAtWork += 1;
    while (due.length > 0 && !signal.aborted) {
      const [box, name, blob] = due.shift();
      try {
        box.added(await studio.addPicture(source, box.dataset.name, name, blob, signal));
      } catch (problem) {
        if (signal.aborted) return;
        box.refused(name, problem);
        // Who cannot be reached now is not asked for each of a thousand.
        if (problem instanceof studio.Gone) due.length = 0;
      }
      box.waiting(numOf(box));
    }
    numAtWork -= 1;
  }
  const numOf = (box) => due.filter(([other]) => other === box).length;
  const take = (box, name, blob) => {
    due.push([box, name, blob]);
    box.waiting(numOf(box));
    if (numAtWork < MOST_AT_ONCE) work();
  };
  return { take, numOf, isAtWork: () => numAtWork > 0 };
}

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
