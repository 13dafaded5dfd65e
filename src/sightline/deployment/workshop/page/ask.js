// The studio over HTTP. The token stands in the address of the page and nowhere else.

const TOKEN = new URLSearchParams(location.search).get("token") ?? "";
const POLL_MS = 1000;
let told = null;
let lost = () => {};

/** The studio answered, and refused: its words. */
export class Refused extends Error {}

/** No answer came at all. */
export class Gone extends Error {}

/** Call something with whether the studio is gone, whenever that changes. */
export function onLost(listener) {
  lost = listener;
}

async function ask(path, options = {}) {
  let reply;
  let content = null;
  try {
    const headers = { Authorization: `Bearer ${TOKEN}`, ...options.headers };
    reply = await fetch(path, { cache: "no-store", ...options, headers });
    content = await reply.json();
  } catch (problem) {
    if (options.signal?.aborted) throw problem;
    lost(true);
    throw new Gone(String(problem));
  }
  lost(false);
  // Where no picture can be read, there is an answer for each all the same.
  if (reply.ok || (reply.status === 422 && Array.isArray(content.images))) return content;
  throw new Refused(typeof content.error === "string" ? content.error : reply.statusText);
}

const get = (path, asked = {}, signal = undefined) => ask(`api/${path}?${new URLSearchParams(asked)}`, { signal });
const post = (path, content) => ask(`api/${path}`, { method: "POST", body: JSON.stringify(content) });

/** What there is to choose from, asked once. */
export async function about() {
  told ??= await get("about");
  return told;
}

export const folder = (path) => get("folder", { path });
export const look = (source) => get("look", { source });
export const runs = async () => (await get("runs")).runs;
export const run = (name, signal) => get("run", { run: name }, signal);
export const jobs = async () => (await get("jobs")).jobs;
export const job = (name, signal) => get(`jobs/${name}`, {}, signal);
export const pictures = async (source, rows) => (await post("pictures", { source, rows })).pictures;
export const begin = (asked) => post("jobs", asked);
export const stop = (name, atOnce = false) => post(`jobs/${name}/stop`, { at_once: atOnce });
export const command = async (asked) => (await post("command", asked)).command;

export const set = (source) => get("set", { set: source });
export const picturesOfClass = async (source, name, first) => (await get("set/pictures", { set: source, class: name, first })).files;
export const unlabelled = (source, job) => get("set/unlabelled", { set: source, ...(job ? { job } : {}) });
export const doubts = (job) => get("set/doubts", { job });
/** Do something to a set: "begin", "class", "rename", "remove", "label", "correct", "keep" or "undo". */
export const inSet = (what, source, told = {}) => post(`set/${what}`, { set: source, ...told });
export const thumbnails = async (source, files, isLarge = false) => (await post("set/thumbnails", { set: source, files, large: isLarge })).pictures;

/** Write one picture into a class, "" for none; the answer says as which file. */
export function addPicture(source, className, name, file) {
  const query = new URLSearchParams({ set: source, class: className, name });
  return ask(`api/set/add?${query}`, { method: "POST", body: file, headers: { "Content-Type": "application/octet-stream" } });
}

/** What a run's bundle says of one picture. */
export async function predict(model, file) {
  const query = new URLSearchParams({ model, top: "5" });
  const headers = { "Content-Type": "application/octet-stream" };
  const content = await ask(`api/predict?${query}`, { method: "POST", body: file, headers });
  return content.images[0];
}

/** Ask again and again until something is so, and hand on each answer; it ends without a word when the view is left. */
export async function follow(question, isDone, seen, signal) {
  while (!signal.aborted) {
    let answer = null;
    try {
      answer = await question(signal);
    } catch (problem) {
      if (signal.aborted) return;
      // The studio may come back; what it runs goes on meanwhile.
      if (!(problem instanceof Gone)) throw problem;
    }
    if (signal.aborted) return;
    if (answer !== null) {
      seen(answer);
      if (isDone(answer)) return;
    }
    await new Promise((wake) => setTimeout(wake, POLL_MS));
  }
}
