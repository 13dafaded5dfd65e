// A run's network as a file for elsewhere.

import { make } from "../../document.js";
import { count, say } from "../../words/words.js";
import * as studio from "../ask.js";
import { button, field, followingCommand, jobAtWork, missing, opening, runChooser, translated, trouble } from "../parts.js";

/** Choose a format; the file is kept only if it answers as the run does. */
export async function showExport(view, signal) {
  view.append(opening(say("export.title"), say("export.lead")));
  const [select, { formats }] = [await runChooser(), await studio.about()];
  if (select === null) {
    view.append(missing(say("missing.run"), "train", say("runs.train")));
    return;
  }
  const radios = formats.map((format, number) => {
    const radio = make("input", { type: "radio", name: "format", value: format.name, checked: number === 0 });
    return make("label", { class: "choice" }, radio, make("span", {}, make("strong", { text: format.name }), make("span", { class: "small faint", text: translated(`format.${format.name}`, format.summary) })));
  });
  const form = make("form", { class: "panel form" }, field(say("missing.with"), select), make("fieldset", {}, make("legend", { text: say("export.format") }), ...radios));
  form.addEventListener("submit", (event) => event.preventDefault());
  const asked = () => ({ kind: "export", run: select.value, format: form.querySelector("input[name=format]:checked").value });
  const work = make("div");
  const start = button(say("export.start"), begin, { class: "main" });
  form.append(make("div", { class: "buttons" }, start), followingCommand(form, asked));
  view.append(form, work);
  const show = (job) => work.replaceChildren(jobAtWork(job, { signal, done: (last) => work.append(came(last)) }));
  async function begin() {
    try {
      show(await studio.begin(asked()));
    } catch (problem) {
      work.replaceChildren(trouble(problem));
    }
  }
  const running = (await studio.jobs()).find((job) => job.kind === "export");
  if (running && !signal.aborted) show(await studio.job(running.name));
}

function came(job) {
  if (job.result === null) return make("span");
  const { path, num_images: images } = job.result;
  const words = Number.isFinite(images) ? say("export.compared", { count: images, told: count(images) }) : say("export.kept");
  return make("section", { class: "panel" }, make("h2", { text: say("export.done") }), make("p", { text: words }), make("p", {}, make("code", { text: path })));
}
