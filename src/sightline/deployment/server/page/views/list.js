// All pictures as a table: sorted by any column, only doubtful ones on request, and what stands in the way.

import { saidWords, smallBar, spoken } from "./answer.js";
import { announce, byId, make, named } from "../document.js";
import { choose } from "./detail.js";
import { askAgain, removeAll, sendAgain } from "../queue/queue.js";
import { doubts, isSeveral, isStale, lineOf, on, saidOf, store } from "../queue/store.js";
import { drawAll, thumbnail } from "./thumbnails.js";
import { count, onLanguage, say } from "../words/words.js";

const ROWS = 100;
const ASKED_AGAIN_AT_ONCE = 20;
const PRINTED = 2000;
const MANY = 1000;
const REST_MS = 250;
const COLUMNS = {
  name: (item) => item.name,
  label: (item) => (item.row ? saidOf(item.row).map(({ label }) => label ?? "").join("; ") : ""),
  confidence: (item) => surest(item.row) ?? -1,
  doubts: (item) => 100 * doubts(item).length - (surest(item.row) ?? 0),
};
const surest = (row) => (row ? saidOf(row)[0]?.confidence : null);
const PENDING = new Set(["waiting", "asking"]);
const natural = new Intl.Collator(undefined, { numeric: true });

const drawn = new Map(); // item to its row
let sorting = { column: null, isFalling: false };
let most = ROWS;
let isDue = false;
let lastSaid = 0;
let wasPending = 0;
let numSpokenOf = 0;
let ticking = null;

/** Keep table, counts and notices true whatever changes. */
export function startList() {
  byId("only-doubtful").addEventListener("change", draw);
  byId("more-rows").addEventListener("click", () => {
    most += ROWS;
    draw();
  });
  byId("send-again").addEventListener("click", sendAgain);
  byId("ask-again").addEventListener("click", askAgain);
  byId("remove-all").addEventListener("click", () => {
    removeAll();
    byId("choose").focus();
  });
  byId("rows").addEventListener("keydown", moveByKeys);
  byId("print").addEventListener("click", async () => {
    draw(PRINTED);
    await drawAll(byId("rows"));
    print();
  });
  addEventListener("beforeprint", () => draw(PRINTED));
  addEventListener("afterprint", () => draw());
  on("items chosen line", plan);
  on("item", (event) => {
    renew(event.detail);
    plan();
  });
  on("model asked", () => {
    const stale = store.items.filter(isStale).length;
    if (stale > 0 && stale <= ASKED_AGAIN_AT_ONCE) askAgain();
    plan();
  });
  on("trouble", () => {
    clearInterval(ticking);
    if (store.trouble?.kind === "busy") ticking = setInterval(showTrouble, 1000);
    showTrouble();
    if (store.trouble && store.trouble.kind !== "key") announce(troubleWords());
  });
  onLanguage(() => {
    drawn.clear();
    heads();
    draw();
  });
  heads();
}

// Many answers come within one picture of the screen, and to sort thousands of rows takes longer than that.
function plan() {
  if (isDue) return;
  isDue = true;
  const rest = store.items.length > MANY ? REST_MS : 0;
  setTimeout(() => requestAnimationFrame(planned), rest);
}

function planned() {
  isDue = false;
  draw();
}

function draw(limit = most) {
  const { items } = store;
  limit = typeof limit === "number" ? limit : most;
  document.body.classList.toggle("has-items", items.length > 0);
  byId("results").hidden = items.length === 0;
  byId("list").hidden = items.length < 2;
  byId("results").classList.toggle("is-single", items.length === 1);
  if (items.length === 0) drawn.clear();
  const found = inOrder();
  place(found.slice(0, limit));
  byId("more-rows").hidden = found.length <= limit;
  byId("more-rows").textContent = say("list.show", { count: Math.min(ROWS, found.length - limit), all: count(found.length) });
  tally();
  showStale();
  showTrouble();
}

function inOrder() {
  const isOnly = byId("only-doubtful").checked;
  const items = isOnly ? store.items.filter((item) => doubts(item).length > 0) : [...store.items];
  if (sorting.column === null) return items;
  const key = COLUMNS[sorting.column];
  const order = (one, other) => {
    const [a, b] = [key(one), key(other)];
    return typeof a === "string" ? natural.compare(a, b) : a - b;
  };
  items.sort(order);
  return sorting.isFalling ? items.reverse() : items;
}

function place(items) {
  const body = byId("rows");
  const rows = items.map((item) => {
    if (!drawn.has(item)) drawn.set(item, line(item));
    mark(item);
    return drawn.get(item);
  });
  // Rows that stand where they should are left alone: moving one takes the focus from it.
  rows.forEach((row, number) => {
    if (body.children[number] !== row) body.insertBefore(row, body.children[number] ?? null);
  });
  while (body.children.length > rows.length) body.lastChild.remove();
}

const cell = (kind, ...children) => make("td", { role: "cell", class: `cell-${kind}` }, ...children);

function line(item) {
  const button = make("button", { type: "button", class: "pick", onclick: () => picked(item) }, named(item.name));
  const row = make(
    "tr",
    { role: "row" },
    cell("picture", thumbnail(item.file)),
    make("th", { role: "rowheader", scope: "row", class: "cell-name" }, button),
    cell("label"),
    cell("confidence"),
    cell("doubts"),
  );
  row.addEventListener("click", (event) => event.target.closest("button") ?? picked(item));
  fill(item, row);
  return row;
}

function renew(item) {
  if (drawn.has(item)) fill(item, drawn.get(item));
}

function fill(item, row) {
  const isAnswered = item.row && !item.row.error;
  const words = isAnswered ? saidWords(item.row) : [make("span", { class: "faint", text: stateWords(item) })];
  row.querySelector(".cell-label").replaceChildren(...words);
  row.querySelector(".cell-confidence").replaceChildren(...(isAnswered ? smallBar(item.row) : []));
  row.classList.toggle("is-several", isSeveral(item.row));
  row.dataset.doubts = "";
  mark(item, row);
}

/** What depends on the line and on what is chosen. */
function mark(item, row = drawn.get(item)) {
  const found = doubts(item);
  if (row.dataset.doubts !== `${found}.`) {
    row.dataset.doubts = `${found}.`;
    const chips = found.map((kind) => make("span", { class: `chip ${kind}`, text: say(`chip.${kind}`) }));
    row.querySelector(".cell-doubts").replaceChildren(...chips);
    row.classList.toggle("is-doubtful", found.length > 0);
  }
  if (item.row && !item.row.error) row.style.setProperty("--line-here", String(lineOf(item.row)));
  const isChosen = item === store.chosen;
  row.classList.toggle("is-chosen", isChosen);
  if (isChosen) row.querySelector(".pick").setAttribute("aria-current", "true");
  else row.querySelector(".pick").removeAttribute("aria-current");
}

const stateWords = (item) => say(item.row?.error ? "answer.unread" : `state.${item.state}`);

function picked(item) {
  choose(item);
  if (item.row || item.why) announce(spoken(item));
  // Where the list stands below, what was chosen is out of sight.
  if (byId("detail").getBoundingClientRect().bottom < 80) {
    byId("detail").focus({ preventScroll: true });
    byId("detail").scrollIntoView();
  }
}

function moveByKeys(event) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  const row = event.target.closest("tr");
  if (!step || !row) return;
  const next = step > 0 ? row.nextElementSibling : row.previousElementSibling;
  event.preventDefault();
  next?.querySelector(".pick").focus();
}

function heads() {
  const sortable = Object.keys(COLUMNS).map((column) => {
    const isBy = sorting.column === column;
    const button = make("button", { type: "button", text: say(`column.${column}`), onclick: () => sortBy(column) });
    const order = isBy ? (sorting.isFalling ? "descending" : "ascending") : null;
    return make("th", { role: "columnheader", scope: "col", class: `cell-${column}`, "aria-sort": order }, button);
  });
  const first = make("th", { role: "columnheader", scope: "col", class: "cell-picture" }, make("span", { class: "unseen", text: say("column.picture") }));
  byId("heads").replaceChildren(first, ...sortable);
}

function sortBy(column) {
  // Doubts are looked for, so the most doubtful come first.
  const isFalling = sorting.column === column ? !sorting.isFalling : column === "doubts";
  sorting = { column, isFalling };
  heads();
  byId("heads").querySelector(`.cell-${column} button`).focus();
  draw();
  announce(say("list.sorted", { column: say(`column.${column}`) }));
}

/** Counts of what there is, shown at once and said now and then. */
function tally() {
  const { items } = store;
  const pending = items.filter((item) => PENDING.has(item.state)).length;
  const found = items.map(doubts);
  const doubtful = found.filter((kinds) => kinds.length > 0).length;
  const parts = [say("tally.answered", { count: items.filter((item) => item.state === "answered" && !item.row?.error).length })];
  for (const kind of ["below", "unsure", "novel", "unusual", "error"]) {
    const number = found.filter((kinds) => kinds.includes(kind)).length;
    if (number > 0) parts.push(say(`tally.${kind}`, { count: number }));
  }
  if (pending > 0) parts.unshift(say("tally.pending", { count: pending }));
  const words = parts.join(say("tally.comma"));
  byId("tally").textContent = items.length === 1 ? "" : words;
  byId("only-doubtful-words").textContent = say("list.only", { count: doubtful });
  byId("progress").hidden = pending === 0 || items.length < 2;
  byId("progress").max = Math.max(items.length, 1);
  byId("progress").value = items.length - pending;
  speak(pending, words);
}

function speak(pending, words) {
  const { items } = store;
  // An answer may be there before the picture was drawn for the first time.
  const isDone = pending === 0 && (wasPending > 0 || items.length > numSpokenOf);
  const isTime = pending > 0 && wasPending > 0 && Date.now() - lastSaid > 5000;
  const isNew = pending > 0 && wasPending === 0 && items.length > 1;
  wasPending = pending;
  numSpokenOf = items.length;
  if (isDone && items.length === 1) return announce(spoken(items[0]));
  if (!isDone && !isTime && !isNew) return undefined;
  lastSaid = Date.now();
  return announce(words);
}

function showStale() {
  const number = store.model ? store.items.filter(isStale).length : 0;
  byId("stale").hidden = number === 0;
  byId("stale-words").textContent = say("stale.words", { count: number });
}

/** Why it does not go on, or what is left to be sent. */
function troubleWords() {
  const { trouble } = store;
  if (trouble?.kind === "busy") return say("trouble.busy", { count: Math.max(1, Math.ceil((trouble.until - Date.now()) / 1000)) });
  if (trouble?.kind === "key") return say("trouble.key");
  const kind = trouble?.kind ?? "rest";
  return say(`trouble.${kind}`, { count: numUnsent() });
}

const numUnsent = () => store.items.filter((item) => item.state === "unsent").length;

function showTrouble() {
  const { trouble } = store;
  const isToSend = numUnsent() > 0 && trouble?.kind !== "busy" && trouble?.kind !== "key";
  byId("trouble").hidden = trouble === null && !isToSend;
  byId("send-again").hidden = !isToSend;
  const words = troubleWords();
  if (byId("trouble-words").textContent !== words) byId("trouble-words").textContent = words;
}
