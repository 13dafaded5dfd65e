// One answer in words and bars.

import { make, named } from "../document.js";
import { doubts, isBelow, isSeveral, lineOf, saidOf, store } from "../queue/store.js";
import { isolated, listed, percent, say } from "../words/words.js";

/** A number between 0 and 1 as a length: set through the CSSOM, as the page's policy allows no style in its HTML. */
function bar(share) {
  const fill = make("span", { class: "fill" });
  fill.style.setProperty("--share", String(Math.min(Math.max(share || 0, 0), 1)));
  return make("span", { class: "track", "aria-hidden": "true" }, fill);
}

/** The bars of the most probable classes, as entries of a list; of several labels each with the line that it is said from. */
export function bars(row, most = 5) {
  const said = new Set(isSeveral(row) ? row.labels.map(({ label }) => label) : []);
  return (row?.top ?? []).slice(0, most).map(({ label, confidence }, place) => {
    const words = make("span", { class: "bar-words" }, named(label), make("span", { class: "share", text: percent(confidence) }));
    const isFirst = isSeveral(row) ? said.has(label) : place === 0 && !isBelow(row);
    const entry = make("li", { class: isFirst ? "first" : null }, words, bar(confidence));
    if (isSeveral(row)) markLine(entry, label);
    return entry;
  });
}

function markLine(entry, label) {
  const from = store.model?.said_from?.[store.model.classes.indexOf(label)];
  if (typeof from !== "number") return;
  entry.classList.add("has-line");
  entry.style.setProperty("--said-from", String(from));
}

/** The bar of a row of the table; of several labels their shares, in the order of their names. */
export function smallBar(row) {
  const share = (confidence) => make("span", { class: "share", text: percent(confidence) });
  if (!isSeveral(row)) return [bar(row.confidence), share(row.confidence)];
  return row.labels.map(({ confidence }) => share(confidence));
}

/** What is said of a picture, for a row of the table. */
export function saidWords(row) {
  if (!isSeveral(row)) return [named(row.label)];
  if (row.labels.length === 0) return [make("span", { class: "faint", text: say("answer.no_label") })];
  return row.labels.map(({ label }) => make("span", { class: "one-label" }, named(label)));
}

/** The class, large, and how sure the model says it is. */
export function headline(row) {
  if (row.error) return [make("p", { class: "label is-none", text: say("answer.unread") }), make("p", { lang: "en", text: row.error })];
  if (isSeveral(row)) return labelLines(row);
  const sure = make("p", { class: "sure", text: say("answer.confidence", { share: percent(row.confidence) }) });
  return [make("p", { class: "label" }, named(row.label)), sure];
}

function labelLines({ labels }) {
  if (labels.length === 0) return [make("p", { class: "label is-none", text: say("answer.no_label") })];
  return labels.map(({ label, confidence }) =>
    make("p", { class: "label several" }, named(label), make("span", { class: "sure", text: percent(confidence) })),
  );
}

/** What a person should know before going by the answer, and the set, as paragraphs. */
export function marks(item) {
  const { row, asked } = item;
  if (!row || row.error) return [];
  const values = {
    share: percent(asked?.max_error ?? 0),
    line: percent(lineOf(row)),
    label: isolated(row.label),
  };
  const found = doubts(item).map((kind) =>
    make("p", { class: `mark-note ${kind}` }, make("strong", { text: say(`mark.${kind}`) }), say("list.joint"), say(`mark.${kind}.means`, values)),
  );
  // Of several labels no warning can be asked for yet.
  if (found.length === 0 && !isSeveral(row)) found.push(make("p", { class: "mark-note fine", text: say(isPromised(asked) ? "mark.fine" : "mark.none") }));
  return [...found, ...setWords(row, asked), ...farWords(row), ...noticeWords(row)];
}

const isPromised = (asked) => Boolean(asked && (asked.max_error !== null || asked.novelty !== null));

function setWords(row, asked) {
  if (Array.isArray(row.set) && isSeveral(row)) return labelSet(row.set, percent(asked?.coverage ?? 0));
  if (!Array.isArray(row.set) || row.set.length === 0) return [];
  // The only class of a set that fits badly is there so that no set is empty.
  if (row.unusual && row.set.length === 1) return [];
  const share = percent(asked?.coverage ?? 0);
  const key = row.set.length === 1 ? "set.one" : "set.many";
  const names = listed(row.set, 12);
  return [make("p", { class: "set", text: say(key, { names, share, count: row.set.length }) })];
}

function labelSet(names, share) {
  const key = names.length === 0 ? "set.no_label" : "set.labels";
  return [make("p", { class: "set", text: say(key, { names: listed(names, 12), share, count: names.length }) })];
}

function farWords(row) {
  if (typeof row.farther_than !== "number") return [];
  const key = row.farther_than < 1 ? "answer.far" : "answer.farthest";
  return [make("p", { class: "small faint", text: say(key, { share: percent(row.farther_than) }) })];
}

const noticeWords = (row) => (row.notice ? [make("p", { class: "small faint", lang: "en", text: row.notice })] : []);

/** The answer as one sentence, to be heard. */
export function spoken(item) {
  const { row, name } = item;
  if (item.why || !row) return `${isolated(name)}: ${item.why}`;
  if (row.error) return `${isolated(name)}: ${say("answer.unread")}. ${row.error}`;
  return [`${isolated(name)}: ${spokenRow(row)}`, ...doubts(item).map((kind) => say(`mark.${kind}`))].join(say("list.joint"));
}

/** What is said of a picture, to be heard. */
export function spokenRow(row) {
  const said = saidOf(row).map(({ label, confidence }) => say("answer.spoken", { label: isolated(label), share: percent(confidence) }));
  return said.length > 0 ? said.join(say("list.joint")) : `${say("answer.no_label")}.`;
}

/** A small answer for camera and drawing: class, confidence, bars, doubts. */
export function liveAnswer(item, most) {
  const { row } = item;
  if (!row) return [];
  if (row.error) return headline(row);
  const chips = doubts(item).map((kind) => make("span", { class: `chip ${kind}`, text: say(`chip.${kind}`) }));
  return [...headline(row), make("p", { class: "chips" }, ...chips), make("ul", { class: "bars" }, ...bars(row, most))];
}
