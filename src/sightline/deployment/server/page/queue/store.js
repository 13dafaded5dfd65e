// What the page knows: models, what is asked of them, the line from which answers count, and the pictures.

/** Tells that something changed: "model", "asked", "line", "items", "item" (detail: it), "chosen", "trouble". */
export const bus = new EventTarget();

export const store = {
  models: [],
  model: null,
  // Promises that are asked for: share or null.
  coverage: null,
  max_error: null,
  novelty: null,
  // Confidence from which an answer counts.
  line: 0.5,
  items: [],
  chosen: null,
  // Why nothing goes on, if so: {kind: "busy", until}, or of kind "gone", "key" (it is asked for) or "locked".
  trouble: null,
};

let last = 0;

/** Say that something changed. */
export const changed = (what, detail = null) => bus.dispatchEvent(new CustomEvent(what, { detail }));

/** Call something on each of these changes. */
export function on(names, listener) {
  for (const name of names.split(" ")) bus.addEventListener(name, listener);
}

/** What is asked now, as it stays with the answer to it. */
export function asked() {
  const { coverage, max_error, novelty } = store;
  return Object.freeze({ model: store.model.name, bundle: store.model.bundle, coverage, max_error, novelty });
}

/** Whether two answers were asked for alike. */
export const isSame = (one, other) => JSON.stringify(one) === JSON.stringify(other);

/** A picture: its file, by which name it is told, and where it stands: waiting, asking, answered, refused, unsent. */
export function newItem(file, name) {
  last += 1;
  return { number: last, file, name, state: "waiting", row: null, asked: null, why: "", tries: 0, turn: 0, extras: {} };
}

/** A certainty, which is log-odds without the temperature, on the scale of confidences. */
const asConfidence = (certainty) => 1 / (1 + Math.exp(-certainty / (store.model?.temperature ?? 1)));

/** Where a step of what the line costs stands, on the scale of confidences. */
export const placeOf = (step) => asConfidence(step.certainty);

// Told with six digits, a confidence nearer to 1 says no more about its odds.
const SUREST = 0.9999;

/** The task of models by which a picture may have several labels, or none. */
export const SEVERAL = "multi-label";

/** Whether a picture was answered with several labels, or none: each is said from a confidence of its own. */
export const isSeveral = (row) => Array.isArray(row?.labels);

/** What is said of a picture, the surest first: one class, or its labels, maybe none. */
export const saidOf = (row) => (isSeveral(row) ? row.labels : [{ label: row.label, confidence: row.confidence }]);

/** Whether an answer counts: by its certainty, as what the line costs was measured by that. Labels have lines of their own. */
export function isBelow(row) {
  if (isSeveral(row)) return false;
  return (typeof row.certainty === "number" ? asConfidence(row.certainty) : row.confidence) < store.line;
}

/**
 * The confidence that this picture needs. Confidences are calibrated and certainties are not: of two classes they say
 * the same, but where several compete, the line stands to the left or right of where it stands for others.
 */
export function lineOf(row) {
  const { line } = store;
  const isPlain = typeof row.certainty !== "number" || row.confidence > SUREST || line <= 0 || line >= 1;
  if (isPlain) return line;
  const odds = (share) => Math.log(share / (1 - share));
  const shift = odds(row.confidence) - row.certainty / (store.model?.temperature ?? 1);
  return 1 / (1 + Math.exp(-odds(line) - shift));
}

/** Which things a person should know before going by an answer, the gravest first. */
export function doubts(item) {
  if (item.state === "refused" || item.state === "unsent") return ["error"];
  const row = item.row;
  if (!row) return [];
  if (row.error) return ["error"];
  const found = [];
  if (row.novel) found.push("novel");
  if (row.unusual) found.push("unusual");
  if (row.unsure) found.push("unsure");
  if (isBelow(row)) found.push("below");
  return found;
}

/** Whether an answer was asked for otherwise than one would be now. */
export const isStale = (item) => item.state === "answered" && !isSame(item.asked, asked());
