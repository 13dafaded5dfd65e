// What the page says, in the languages that it speaks, and how numbers are written there.

import { byId } from "../document.js";

const LANGUAGES = { en: "English", zh: "中文" };
const PLACE = "sightline-language";
const tables = {};
const listeners = [];
let current = "en";

/** The language that is spoken: "en" or "zh". */
export const language = () => current;

/** Call something whenever the language changes. */
export const onLanguage = (listener) => listeners.push(listener);

/**
 * The words of a key. "{name}" in them is replaced by `values.name`; where a key has plurals, `values.count` decides.
 */
export function say(key, values = {}) {
  let words = tables[current]?.[key] ?? tables.en?.[key] ?? key;
  if (typeof words === "object") words = words[new Intl.PluralRules(current).select(values.count)] ?? words.other;
  return words.replace(/\{(\w+)\}/g, (whole, name) => {
    const value = values[name];
    if (value === undefined) return whole;
    return typeof value === "number" ? count(value) : value;
  });
}

/** A whole number. */
export const count = (number) => new Intl.NumberFormat(current).format(number);

/** A share in percent. None is told as 0 % or 100 % that is not. */
export function percent(share, digits = 1) {
  if (typeof share !== "number" || !Number.isFinite(share)) return "–";
  const smallest = 10 ** -digits / 100;
  const form = new Intl.NumberFormat(current, { maximumFractionDigits: digits });
  const written = (value) => `${form.format(100 * value)}\u00a0%`;
  if (share > 0 && share < smallest) return `< ${written(smallest)}`;
  if (share < 1 && share > 1 - smallest) return `> ${written(1 - smallest)}`;
  return written(share);
}

/** A name within a sentence: marks of direction keep one that is written from right to left to itself. */
export const isolated = (name) => `\u2068${name}\u2069`;

/** Names as a sentence lists them, the rest counted. */
export function listed(names, most = 8) {
  const shown = names.slice(0, most).map(isolated);
  const rest = names.length - shown.length;
  const text = shown.join(say("list.comma"));
  return rest > 0 ? say("list.more", { shown: text, count: rest }) : text;
}

/** Load the words from a folder, take the browser's language or the one that was chosen last, and write them down. */
export async function startWords(folder = "page/words") {
  await Promise.all(Object.keys(LANGUAGES).map((name) => load(folder, name)));
  byId("language").addEventListener("click", () => {
    speak(other());
    remember();
  });
  speak(remembered() ?? wished());
}

async function load(folder, name) {
  const reply = await fetch(`${folder}/${name}.json`);
  tables[name] = await reply.json();
}

function wished() {
  const known = navigator.languages.map((tag) => tag.slice(0, 2).toLowerCase());
  return known.find((tag) => tag in LANGUAGES) ?? "en";
}

function remembered() {
  try {
    const name = localStorage.getItem(PLACE);
    return name in LANGUAGES ? name : null;
  } catch {
    return null; // a browser may forbid the page to keep anything
  }
}

function remember() {
  try {
    localStorage.setItem(PLACE, current);
  } catch {
    // then it is the browser's language again next time
  }
}

const other = () => (current === "en" ? "zh" : "en");

function speak(name) {
  current = name;
  document.documentElement.lang = name === "zh" ? "zh-CN" : name;
  for (const node of document.querySelectorAll("[data-word]")) node.textContent = say(node.dataset.word);
  for (const node of document.querySelectorAll("[data-word-label]")) {
    node.setAttribute("aria-label", say(node.dataset.wordLabel));
  }
  byId("language").textContent = LANGUAGES[other()];
  byId("language").lang = other();
  for (const listener of listeners) listener();
}
