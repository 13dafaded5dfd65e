// Begin a training.

import { make, named } from "../../document.js";
import { say } from "../../words/words.js";
import * as studio from "../ask.js";
import { button, followingCommand, missing, opening, translated, trouble } from "../parts.js";
import { go, place } from "../place.js";

const USUAL_MINUTES = 10;

/** Choose a recipe and a time; what is begun is shown as a run. */
export async function showTrain(view, signal) {
  view.append(opening(say("train.title"), say("train.lead")));
  const { source } = place();
  if (source === undefined) {
    view.append(missing(say("missing.source"), "pictures", say("missing.choose")));
    return;
  }
  const [{ recipes, can_train: canTrain }, looked] = await Promise.all([studio.about(), studio.look(source)]);
  if (signal.aborted) return;
  if (!canTrain) view.append(make("p", { class: "notice", text: say("train.no-backend") }));
  const { form, asked } = chosen(source, recipes, looked);
  const wrong = make("div");
  const start = button(say("train.start"), begin, { class: "main", disabled: !canTrain });
  form.append(wrong, make("div", { class: "buttons" }, start), followingCommand(form, asked));
  view.append(form);
  async function begin() {
    start.setAttribute("aria-busy", "true");
    try {
      const job = await studio.begin(asked());
      go("run", { run: job.about.run, job: job.name });
    } catch (problem) {
      start.removeAttribute("aria-busy");
      wrong.replaceChildren(trouble(problem));
    }
  }
}

function chosen(source, recipes, { recipe: usual, num_series: numSeries, num_relabelled: numRelabelled }) {
  const radios = recipes.map((recipe) => {
    const radio = make("input", { type: "radio", name: "recipe", value: recipe.name, checked: recipe.name === usual });
    const fits = recipe.name === usual ? make("span", { class: "chip fits", text: say("train.fits") }) : null;
    return make("label", { class: "choice" }, radio, make("span", {}, make("strong", { text: recipe.name }), " ", fits, make("span", { class: "small faint", text: translated(`recipe.${recipe.name}`, recipe.summary) })));
  });
  const minutes = make("input", { type: "number", min: "0.1", max: "10080", step: "any", value: String(USUAL_MINUTES), "aria-label": say("train.minutes") });
  const lengths = ["whole", "time"].map((length) => {
    const radio = make("input", { type: "radio", name: "length", value: length, checked: length === "whole" });
    return make("label", { class: "choice" }, radio, make("span", {}, make("strong", { text: say(`train.${length}`) }), make("span", { class: "small faint", text: say(`train.${length}-hint`) })));
  });
  // Whoever says how many minutes means them.
  minutes.addEventListener("input", () => {
    lengths[1].querySelector("input").checked = true;
  });
  const form = make(
    "form",
    { class: "panel form" },
    make("p", {}, named(source || say("folder.top"))),
    make("fieldset", {}, make("legend", { text: say("train.recipe") }), ...radios),
    make("fieldset", {}, make("legend", { text: say("train.length") }), ...lengths, make("span", { class: "unit" }, minutes, ` ${say("train.unit")}`)),
  );
  form.addEventListener("submit", (event) => event.preventDefault());
  const together = make("input", { type: "checkbox", checked: true });
  if (numSeries > 0) form.append(make("label", { class: "choice" }, together, make("span", {}, make("strong", { text: say("train.series", { count: numSeries }) }), make("span", { class: "small faint", text: say("train.series-hint") }))));
  const labels = make("input", { type: "checkbox", checked: true });
  if (numRelabelled > 0) form.append(make("label", { class: "check" }, labels, make("span", { text: say("train.labels", { count: numRelabelled }) })));
  const asked = () => {
    const recipe = form.querySelector("input[name=recipe]:checked").value;
    const isWhole = form.querySelector("input[name=length]:checked").value === "whole";
    return { kind: "train", source, recipe, ...(isWhole ? {} : { minutes: Number(minutes.value) }), ...(together.checked ? {} : { series: false }), ...(labels.checked ? {} : { labels: false }) };
  };
  return { form, asked };
}
