// Pictures on their way: a few at a time, patient with a busy server, and nothing lost where it goes away.

import { askForKey } from "./key.js";
import { isBusy, isReachable, predict, Refused, Unreachable } from "./server.js";
import { asked, changed, isStale, newItem, store } from "./store.js";
import { say } from "../words/words.js";

const MOST_IN_FLIGHT = 3;
const MOST_TRIES = 8;
const TOP = 5;

const waiting = [];
let inFlight = 0;
let allowed = MOST_IN_FLIGHT;
let timer = null;

/** Take in files, each with the name that it is told by, and ask about them. */
export function add(files) {
  const items = files.map(({ file, name }) => newItem(file, name));
  store.items.push(...items);
  send(items);
  return items;
}

/** Ask about what could not be sent. */
export const sendAgain = () => send(store.items.filter((item) => item.state === "unsent"));

/** Ask again about what was asked for otherwise; what is on its way answers nobody then. */
export const askAgain = () => send(store.items.filter(isStale));

/** Forget all pictures. */
export function removeAll() {
  for (const item of store.items) item.turn += 1;
  waiting.length = 0;
  store.items = [];
  store.chosen = null;
  settleTrouble(null);
  changed("items");
}

function send(items) {
  for (const item of items) {
    Object.assign(item, { state: "waiting", why: "", tries: 0, extras: {} });
    item.turn += 1;
    waiting.push(item);
  }
  if (store.trouble?.kind === "gone" || store.trouble?.kind === "locked") settleTrouble(null);
  changed("items");
  pump();
}

function settleTrouble(trouble) {
  clearTimeout(timer);
  store.trouble = trouble;
  changed("trouble");
}

function pump() {
  while (store.trouble === null && inFlight < allowed && waiting.length > 0) {
    const item = waiting.shift();
    if (item.state === "waiting") ask(item);
  }
}

async function ask(item) {
  const { turn } = item;
  const question = asked();
  const start = performance.now();
  inFlight += 1;
  item.state = "asking";
  changed("item", item);
  try {
    const { row, model, bundle } = await predict(item.file, question, { top: TOP });
    allowed = Math.min(allowed + 1, MOST_IN_FLIGHT);
    const told = { ...question, model: model ?? question.model, bundle: bundle ?? question.bundle };
    if (told.model === store.model?.name && told.bundle !== store.model.bundle) changed("bundle");
    if (item.turn === turn) settle(item, "answered", { row, asked: told, why: "", took: performance.now() - start });
  } catch (problem) {
    if (item.turn === turn) await handle(item, problem);
  } finally {
    inFlight -= 1;
    pump();
  }
}

function settle(item, state, values) {
  Object.assign(item, values, { state });
  changed("item", item);
}

async function handle(item, problem) {
  if (problem instanceof Unreachable) return lost(item);
  if (!(problem instanceof Refused)) throw problem;
  if (problem.status === 401) return wantsKey(item, problem);
  if (isBusy(problem)) return busy(item, problem);
  // Of the server's own faults the next try may be free; of the picture's, none is.
  const state = problem.status >= 500 ? "unsent" : "refused";
  settle(item, state, { why: wordsOf(problem), row: null });
}

/** A refusal in words: ours by its status, then the server's own. */
export function wordsOf(problem) {
  if (problem instanceof Unreachable) return say("refused.unreachable");
  const known = { 401: "key", 409: "promise", 413: "large", 415: "kind", 429: "busy", 503: "busy", 504: "late" }[problem.status];
  const ours = say(known ? `refused.${known}` : "refused.other", { status: String(problem.status ?? "") });
  return problem.message ? [ours, problem.message].join(say("list.joint")) : ours;
}

function busy(item, problem) {
  item.tries += 1;
  if (item.tries >= MOST_TRIES) return settle(item, "unsent", { why: wordsOf(problem), row: null });
  allowed = 1; // the next one alone finds out whether there is room
  back(item);
  const until = Math.max(Date.now() + 1000 * problem.seconds, store.trouble?.until ?? 0);
  settleTrouble({ kind: "busy", until });
  timer = setTimeout(() => {
    settleTrouble(null);
    pump();
  }, until - Date.now());
}

function back(item) {
  item.state = "waiting";
  waiting.unshift(item);
  changed("item", item);
}

async function wantsKey(item, problem) {
  back(item);
  settleTrouble({ kind: "key" });
  if (await askForKey()) settleTrouble(null);
  else stop(wordsOf(problem), "locked");
}

/** No answer came: the file is gone, this one request broke off, or the server is gone. */
async function lost(item) {
  if (!(await isReadable(item.file))) return settle(item, "refused", { why: say("refused.vanished"), row: null });
  if (await isReachable()) return settle(item, "unsent", { why: say("refused.broke"), row: null });
  item.state = "unsent";
  stop(say("refused.unreachable"));
}

async function isReadable(file) {
  try {
    // A file that is gone may be told as empty, and of an empty one a part is always read.
    await (file.size > 0 ? file.slice(0, 1) : file).arrayBuffer();
    return true;
  } catch {
    return false;
  }
}

function stop(why, kind = "gone") {
  waiting.length = 0;
  for (const item of store.items) {
    if (item.state === "waiting" || (item.state === "unsent" && !item.why)) Object.assign(item, { state: "unsent", why });
  }
  settleTrouble({ kind });
  changed("items");
}
