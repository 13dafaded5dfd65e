// The table as a file: CSV as `sightline predict --csv` writes it, and JSON as the server told it.

import { byId, make } from "../document.js";
import { doubts, isSeveral, store } from "../queue/store.js";

// A spreadsheet takes text that begins so for a formula, the full-width forms too where it is set for Chinese.
const FORMULA = /^[\s']*[-=+@\uff0b\uff0d\uff1d\uff20]/u;
const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/iu;
// What moves or hides other text, but for the joiners and marks that scripts need.
const ACTIVE = /(?![\u200c-\u200f])[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;
const ASKED = ["set", "unusual", "unsure", "novel", "farther_than"];

/** Make the buttons write files. */
export function startDownload() {
  byId("save-csv").addEventListener("click", () => save("sightline-answers.csv", csv(store.items), "text/csv;charset=utf-8"));
  byId("save-json").addEventListener("click", () => save("sightline-answers.json", json(store.items), "application/json"));
}

function save(name, text, type) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  make("a", { href: address, download: name }).click();
  // The browser reads it after this has returned.
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

/** A cell from which no spreadsheet makes a formula, and no text turns what stands beside it. */
export function cell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "string") return typeof value === "number" ? String(value) : quoted(JSON.stringify(value));
  const plain = value.replace(ACTIVE, escaped);
  return quoted(FORMULA.test(plain) && !NUMBER.test(plain) ? `'${plain}` : plain);
}

const escaped = (letter) =>
  [...new TextEncoder().encode(letter)].map((byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("");

const quoted = (text) => (/[",\n\r]|^\s|\s$/u.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

/** Labels as tables of labels have them, "cat;dog", a list where a name holds what parts them; and their confidences. */
function saidCells(row) {
  if (!isSeveral(row)) return [null, null];
  const names = row.labels.map(({ label }) => label);
  const isPlain = !names.some((name) => name.includes(";") || /^[[({]/u.test(name));
  return [isPlain ? names.join(";") : JSON.stringify(names), row.labels.map(({ confidence }) => confidence).join(";")];
}

/** All pictures as CSV; none is left out, whether it has an answer or not. */
export function csv(items) {
  const several = items.filter((item) => isSeveral(item.row));
  const isMixed = several.length < items.filter((item) => item.row).length;
  const one = items.filter((item) => !isSeveral(item.row));
  const most = several.length > 0 && !isMixed ? 0 : Math.max(1, ...one.map((item) => item.row?.top?.length ?? 0));
  const said = several.length > 0 ? ["labels", "confidences"] : [];
  const ranks = Array.from({ length: most }, (_, place) => (place === 0 ? "" : `_${place + 1}`));
  const asked = ASKED.filter((name) => items.some((item) => item.row && name in item.row));
  const head = ["path", ...ranks.flatMap((end) => [`label${end}`, `confidence${end}`]), ...said, ...asked, "below_line", "model", "bundle", "notice", "error"];
  const lines = items.map((item) => {
    const top = isSeveral(item.row) ? [] : (item.row?.top ?? []);
    const told = ranks.flatMap((_, place) => [top[place]?.label, top[place]?.confidence]);
    const below = item.row && !item.row.error ? doubts(item).includes("below") : null;
    const values = [item.name, ...told, ...(said.length > 0 ? saidCells(item.row) : []), ...asked.map((name) => item.row?.[name]), below];
    return [...values, item.asked?.model, item.asked?.bundle, item.row?.notice, errorOf(item)].map(cell).join(",");
  });
  // The mark at the beginning is how spreadsheets know UTF-8.
  return `\ufeff${[head.join(","), ...lines].join("\r\n")}\r\n`;
}

/** All pictures as JSON: what was asked, where the line was, and each row as the server told it. */
export function json(items) {
  const images = items.map((item) => ({
    ...(item.row ?? { label: null, confidence: null, top: [] }),
    path: item.name,
    error: errorOf(item),
    asked: item.asked,
  }));
  return `${JSON.stringify({ line: store.line, images }, null, 2)}\n`;
}

const errorOf = (item) => item.row?.error ?? (item.state === "answered" ? null : item.why || item.state);
