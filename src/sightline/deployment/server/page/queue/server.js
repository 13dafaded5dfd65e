// The server over HTTP: what it knows, and what it says of a picture.

import { askForKey, key } from "./key.js";

// Where a server neither answers nor closes, somebody has to end it; its own deadline is far shorter.
const LONGEST_MS = 120_000;
const MOST_WAIT_S = 60;
const MOST_TRIES = 6;

/** The server answered, and refused: with a status, its words, and how many seconds it asks to wait. */
export class Refused extends Error {
  constructor(status, words, seconds) {
    super(words);
    this.status = status;
    this.seconds = seconds;
  }
}

/** No answer came at all. */
export class Unreachable extends Error {}

async function ask(path, options = {}) {
  const headers = new Headers(options.headers);
  if (key()) headers.set("Authorization", `Bearer ${key()}`);
  const limit = new AbortController();
  const timer = setTimeout(() => limit.abort(), LONGEST_MS);
  let reply;
  let text;
  try {
    reply = await fetch(path, { ...options, headers, signal: limit.signal, cache: "no-store" });
    text = await reply.text();
  } catch (problem) {
    throw new Unreachable(String(problem));
  } finally {
    clearTimeout(timer);
  }
  return read(reply, text);
}

function read(reply, text) {
  let content = null;
  try {
    content = JSON.parse(text);
  } catch {
    // a proxy between may answer with a page of its own
  }
  // Where no picture of a request can be read, it is refused as a whole, with a row for each.
  if (reply.status === 422 && content?.images?.length > 0) return content;
  if (reply.ok && content !== null && typeof content === "object") return content;
  const words = typeof content?.error === "string" ? content.error : reply.statusText;
  throw new Refused(reply.ok ? 502 : reply.status, words, secondsOf(reply.headers.get("Retry-After")));
}

/** Seconds that a Retry-After asks for, given as such or as a date; 1 where it says nothing. */
export function secondsOf(header) {
  const seconds = /^\s*\d+\s*$/.test(header ?? "") ? Number(header) : (Date.parse(header ?? "") - Date.now()) / 1000;
  return Number.isFinite(seconds) ? Math.min(Math.max(seconds, 1), MOST_WAIT_S) : 1;
}

/** Whether the server asks to wait, or whether to try again makes no sense. */
export const isBusy = (problem) => problem instanceof Refused && (problem.status === 429 || problem.status === 503);

/** The models that may be asked. */
export async function models() {
  const content = await withKey(() => ask("v1/models"));
  return Array.isArray(content.models) ? content.models : [];
}

/** Whether the server answers at all. */
export async function isReachable() {
  try {
    await ask("v1/models");
    return true;
  } catch (problem) {
    return problem instanceof Refused;
  }
}

/**
 * What a model says of one picture: the row of it, and the model's name and bundle.
 *
 * `asked` is what the store asks for; `extra` may add top, nearest and map.
 */
export async function predict(file, asked, extra = {}) {
  const query = new URLSearchParams({ model: asked.model });
  for (const name of ["coverage", "max_error", "novelty"]) {
    if (asked[name] !== null) query.set(name, String(asked[name]));
  }
  for (const [name, value] of Object.entries(extra)) query.set(name, String(value));
  // The server tells a picture by its bytes; a browser goes by the name, which may be wrong.
  const headers = { "Content-Type": "application/octet-stream" };
  const content = await ask(`v1/predict?${query}`, { method: "POST", body: file, headers });
  const row = content.images?.[0];
  if (!row || typeof row !== "object") throw new Refused(502, "", 1);
  return { row, model: content.model, bundle: content.bundle };
}

/** The same for who asks one picture alone: waits where the server asks to, and asks for a key where it wants one. */
export async function predictPatiently(file, asked, extra = {}) {
  for (let tries = 1; ; tries += 1) {
    try {
      return await withKey(() => predict(file, asked, extra));
    } catch (problem) {
      if (!isBusy(problem) || tries === MOST_TRIES) throw problem;
      await new Promise((go) => setTimeout(go, 1000 * problem.seconds));
    }
  }
}

async function withKey(action) {
  for (;;) {
    try {
      return await action();
    } catch (problem) {
      if (!(problem instanceof Refused) || problem.status !== 401) throw problem;
      if (!(await askForKey(problem.message))) throw problem;
    }
  }
}
