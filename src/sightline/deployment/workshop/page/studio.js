// Where the studio begins: words, then the step that the address names.

import { byId, make } from "../document.js";
import { onLanguage, say, startWords } from "../words/words.js";
import { about, onLost } from "./ask.js";
import { address, place } from "./place.js";
import { trouble } from "./parts.js";
import { showCorrect } from "./sets/correct.js";
import { showLabel } from "./sets/label.js";
import { showSet } from "./sets/make.js";
import { showAudit } from "./views/audit.js";
import { showExport } from "./views/export.js";
import { showPictures } from "./views/pictures.js";
import { showRun } from "./views/run.js";
import { showRuns } from "./views/runs.js";
import { showSort } from "./views/sort.js";
import { showTrain } from "./views/train.js";
import { showTry } from "./views/try.js";

// In the order in which somebody goes through them.
const STEPS = {
  pictures: showPictures,
  audit: showAudit,
  train: showTrain,
  runs: showRuns,
  try: showTry,
  sort: showSort,
  export: showExport,
};
const VIEWS = { ...STEPS, run: showRun, set: showSet, label: showLabel, correct: showCorrect };
// What is reached from a step belongs to it.
const PARTS = { run: "runs", set: "pictures", label: "pictures", correct: "audit" };
let leave = null;
let last = "";

async function show() {
  leave?.abort();
  leave = new AbortController();
  const { signal } = leave;
  const { step } = place();
  const view = make("div", { class: "view" });
  drawSteps(step);
  byId("view").replaceChildren(view);
  try {
    await (VIEWS[step] ?? showPictures)(view, signal);
  } catch (problem) {
    if (!signal.aborted) view.append(trouble(problem));
  }
  if (signal.aborted) return;
  const title = view.querySelector("h1");
  document.title = `${title?.textContent ?? ""} · Sightline`;
  // Who hears the page is brought to what is new on it, but not when it is opened.
  if (last && last !== step) byId("main").focus();
  last = step;
}

function drawSteps(current) {
  const chosen = PARTS[current] ?? current;
  const links = Object.keys(STEPS).map((step) =>
    make("li", {}, make("a", { href: address(step), "aria-current": step === chosen ? "page" : null, text: say(`step.${step}`) })),
  );
  byId("steps").replaceChildren(...links);
}

onLost((isLost) => {
  byId("lost").hidden = !isLost;
  byId("lost-words").textContent = isLost ? say("page.lost") : "";
});
await startWords("page/studio/words");
addEventListener("hashchange", show);
onLanguage(show);
byId("skip").addEventListener("click", (event) => {
  // The address names the step, so it is not the place for this.
  event.preventDefault();
  byId("main").focus();
});
await show();
try {
  byId("root").textContent = (await about()).root;
} catch {
  // told where the view asked
}
