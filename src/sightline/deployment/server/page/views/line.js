// The line from which answers count: one slider, drawn through all bars, and what it costs.

import { byId } from "../document.js";
import { changed, on, placeOf, SEVERAL, store } from "../queue/store.js";
import { onLanguage, percent, say } from "../words/words.js";

/** Make the slider and the number beside it move one line. */
export function startLine() {
  byId("threshold").addEventListener("input", (event) => move(Number(event.target.value) / 100));
  byId("threshold-number").addEventListener("input", (event) => {
    const typed = event.target.valueAsNumber;
    if (typed >= 0 && typed <= 100) move(typed / 100, { isTyped: true });
  });
  byId("threshold-number").addEventListener("change", () => move(store.line));
  on("model", show);
  onLanguage(show);
  move(store.line);
}

function move(line, { isTyped = false } = {}) {
  store.line = Math.round(line * 1000) / 1000;
  byId("threshold").value = String(100 * store.line);
  if (!isTyped) byId("threshold-number").value = String(Math.round(1000 * store.line) / 10);
  // Set here, as the page's policy allows no style in its HTML.
  document.documentElement.style.setProperty("--line-at", String(store.line));
  show();
  changed("line");
}

function show() {
  const words = cost();
  byId("line-cost").textContent = words;
  byId("threshold").setAttribute("aria-valuetext", `${percent(store.line)}. ${words}`);
}

/** What it costs to count answers from the line on alone, as measured on pictures that it learned nothing from. */
function cost() {
  if (store.model?.task === SEVERAL) return say("line.labels");
  const steps = store.model?.trade_off ?? [];
  if (steps.length === 0) return say("line.unmeasured");
  const step = nearest(steps, store.line);
  const values = {
    from: percent(placeOf(step)),
    answered: percent(step.answered),
    left: percent(1 - step.answered),
    error: percent(step.error),
    lower: percent(step.error_lower),
    upper: percent(step.error_upper),
  };
  if (!(step.answered > 0) || typeof step.error !== "number") return say("line.none", values);
  return say(step.answered < 1 ? "line.cost" : "line.all", values);
}

const nearest = (steps, line) =>
  steps.reduce((best, step) => (Math.abs(placeOf(step) - line) < Math.abs(placeOf(best) - line) ? step : best));
