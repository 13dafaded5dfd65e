// How pictures come in: dropped, pasted, chosen, by whole folders.

import { announce, byId, tell } from "../document.js";
import { add } from "../queue/queue.js";
import { changed, store } from "../queue/store.js";
import { say } from "../words/words.js";

// In a folder lie other things, too; what somebody chose by itself is sent whatever it is called.
const PICTURES = new Set(
  (
    "jpg jpeg jpe jfif mpo png apng webp gif bmp dib tif tiff ppm pgm pbm pnm avif jp2 j2k j2c jpc jpf jpx heic heif hif " +
    "arw cr2 cr3 dng nef orf raf rw2 jxl dcm psd tga exr"
  ).split(" "),
);

/** Make the page take pictures. */
export function startIntake() {
  byId("choose").addEventListener("click", () => byId("files").click());
  byId("choose-folder").addEventListener("click", () => byId("folder").click());
  byId("choose-folder").hidden = !("webkitdirectory" in HTMLInputElement.prototype);
  byId("files").addEventListener("change", (event) => chosen(event.target, false));
  byId("folder").addEventListener("change", (event) => chosen(event.target, true));
  document.addEventListener("paste", pasted);
  startDrop();
}

function chosen(input, isFolder) {
  take([...input.files].map((file) => ({ file, name: file.webkitRelativePath || file.name, isInFolder: isFolder })));
  input.value = ""; // so that the same file may be chosen again
}

/** Ask about files: {file, name, isInFolder}. */
export function take(found) {
  const files = found.filter(({ name, file, isInFolder }) => !isInFolder || isPicture(name, file));
  const passed = found.length - files.length;
  const words = passed > 0 ? say("intake.passed", { count: passed }) : "";
  tell("passed-over", found.length > 0 ? words : say("intake.nothing"));
  if (!byId("passed-over").hidden) announce(byId("passed-over").textContent);
  if (files.length === 0 || store.model === null) return;
  const items = add(files);
  store.chosen = items[0];
  changed("chosen");
}

function isPicture(name, file) {
  const last = name.split("/").pop();
  const ending = last.includes(".") ? last.split(".").pop().toLowerCase() : "";
  return !last.startsWith(".") && (PICTURES.has(ending) || (!ending && file.type.startsWith("image/")));
}

let numPasted = 0;

function pasted(event) {
  const files = [...(event.clipboardData?.files ?? [])];
  if (files.length === 0) return;
  event.preventDefault();
  take(
    files.map((file) => {
      numPasted += 1;
      const ending = file.name.includes(".") ? file.name.split(".").pop() : "png";
      return { file, name: say("intake.pasted", { number: String(numPasted), ending }) };
    }),
  );
}

function startDrop() {
  let depth = 0; // each element under the pointer enters and leaves
  const mark = (by) => {
    depth = Math.max(0, by === 0 ? 0 : depth + by);
    document.documentElement.classList.toggle("is-over", depth > 0);
  };
  addEventListener("dragenter", () => mark(1));
  addEventListener("dragleave", () => mark(-1));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", async (event) => {
    event.preventDefault();
    mark(0);
    take(await filesOf(event.dataTransfer));
  });
}

/** What was dropped, folders opened. Entries have to be asked for before anything is waited for. */
async function filesOf(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return [...transfer.files].map((file) => ({ file, name: file.name }));
  const found = [];
  for (const entry of entries) await walk(entry, found, false);
  return found;
}

async function walk(entry, found, isInFolder) {
  try {
    if (entry.isFile) {
      const file = await new Promise((settle, fail) => entry.file(settle, fail));
      found.push({ file, name: entry.fullPath.replace(/^\//, ""), isInFolder });
      return;
    }
    const reader = entry.createReader();
    // A browser hands out a hundred at a time, and none at the end.
    for (;;) {
      const some = await new Promise((settle, fail) => reader.readEntries(settle, fail));
      if (some.length === 0) return;
      for (const one of some) await walk(one, found, true);
    }
  } catch {
    // a file or folder that may not be read is passed over, as a folder may hold such
    found.push({ file: new File([], entry.name), name: `.${entry.name}`, isInFolder: true });
  }
}
