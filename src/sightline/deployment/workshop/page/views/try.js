// Try pictures that nobody has labelled.

import { announce, make, named } from "../../document.js";
import { percent, say } from "../../words/words.js";
import * as studio from "../ask.js";
import { button, commandLine, field, missing, opening, runChooser } from "../parts.js";

const MOST_AT_ONCE = 2;
const LABELS = 3;

/** Drop pictures, and read what a run's network says of each. */
export async function showTry(view, signal) {
  view.append(opening(say("try.title"), say("try.lead")));
  const select = await runChooser(() => line.say(`sightline predict ${select.value} picture.jpg`));
  if (select === null) {
    view.append(missing(say("missing.run"), "train", say("runs.train")));
    return;
  }
  const answers = make("ul", { class: "answers" });
  const line = commandLine(`sightline predict ${select.value} picture.jpg`);
  const input = make("input", { type: "file", multiple: true, accept: "image/*", hidden: true, tabindex: "-1", "aria-hidden": "true" });
  const waiting = [];
  let numAtWork = 0;
  const take = (files) => {
    for (const file of files) {
      const item = begun(file);
      answers.prepend(item);
      waiting.push([file, item, select.value]);
    }
    for (let free = MOST_AT_ONCE - numAtWork; free > 0; free -= 1) work();
  };
  async function work() {
    numAtWork += 1;
    while (waiting.length > 0 && !signal.aborted) {
      const [file, item, model] = waiting.shift();
      await answer(file, item, model);
    }
    numAtWork -= 1;
  }
  input.addEventListener("change", () => {
    take([...input.files]);
    input.value = "";
  });
  const finder = make("div", { class: "finder" }, make("h2", { text: say("try.drop") }), make("p", { class: "faint", text: say("try.hint") }), make("div", { class: "buttons" }, button(say("try.choose"), () => input.click(), { class: "main" })), input);
  const area = make("div", {}, finder);
  takeDrops(area, take, signal);
  view.append(field(say("missing.with"), select), area, answers, line);
}

function takeDrops(area, take, signal) {
  for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
    addEventListener(
      kind,
      (event) => {
        event.preventDefault(); // else a picture that misses would replace the page
        area.classList.toggle("is-over", kind === "dragenter" || kind === "dragover");
        if (kind === "drop") take([...event.dataTransfer.files]);
      },
      { signal },
    );
  }
  addEventListener("paste", (event) => take([...event.clipboardData.files]), { signal });
}

function begun(file) {
  const image = make("img", { alt: "", class: "answer-picture" });
  image.src = URL.createObjectURL(file);
  image.addEventListener("load", () => URL.revokeObjectURL(image.src));
  image.addEventListener("error", () => image.replaceWith(make("span", { class: "answer-picture is-plain" })));
  return make("li", { class: "panel answer" }, image, make("div", { class: "answer-words" }, make("p", { class: "faint", text: say("try.waiting") })));
}

async function answer(file, item, model) {
  const words = item.querySelector(".answer-words");
  let row;
  try {
    row = await studio.predict(model, file);
  } catch (problem) {
    row = { error: problem instanceof studio.Gone ? say("page.lost") : problem.message, top: [] };
  }
  const name = make("p", { class: "small faint" }, named(file.name));
  if (row.error !== null) {
    words.replaceChildren(make("p", { class: "label is-none", text: say("try.unreadable") }), make("p", { text: row.error, lang: "en" }), name);
    announce(say("try.unreadable"));
    return;
  }
  const bars = row.top.slice(0, LABELS).map(({ label, confidence }, number) => {
    const fill = make("span", { class: "fill" });
    fill.style.setProperty("--share", confidence);
    return make("li", { class: number === 0 ? "first" : null }, make("div", { class: "bar-words" }, named(label), make("span", { class: "share", text: percent(confidence) })), make("span", { class: "track" }, fill));
  });
  words.replaceChildren(make("p", { class: "label" }, named(row.label)), name, make("ul", { class: "bars" }, ...bars));
  announce(say("try.heard", { label: row.label, share: percent(row.confidence) }));
}
