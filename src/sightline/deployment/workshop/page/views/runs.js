// All runs of the folder.

import { make, named } from "../../document.js";
import { count, percent, say } from "../../words/words.js";
import * as studio from "../ask.js";
import { commandLine, missing, opening } from "../parts.js";
import { address } from "../place.js";

/** A table of them, the last changed first. */
export async function showRuns(view) {
  view.append(opening(say("runs.title"), say("runs.lead")));
  const rows = await studio.runs();
  if (rows.length === 0) {
    view.append(missing(say("runs.none"), "train", say("runs.train")));
    return;
  }
  const heads = ["run", "state", "accuracy", "recipe"].map((name) => make("th", { scope: "col", text: say(`runs.${name}`) }));
  const table = make("table", { class: "runs" }, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...rows.map(drawn)));
  view.append(make("div", { class: "scroll", role: "region", "aria-label": say("runs.title"), tabindex: "0" }, table), commandLine("sightline runs"));
}

function drawn(row) {
  const name = row.run.replace(/^runs\//, "");
  return make(
    "tr",
    {},
    make("th", { scope: "row" }, make("a", { href: address("run", { run: row.run }) }, named(name))),
    make("td", { text: say(`state.${row.state}`) }),
    make("td", { text: accuracy(row) }),
    make("td", { text: row.recipe ?? "–" }),
  );
}

/** How often it is right, between what bounds, on how many pictures. */
export function accuracy(row) {
  if (row.accuracy === null) return "–";
  const [lower, upper] = row.accuracy_interval ?? [row.accuracy, row.accuracy];
  return say("runs.accuracy-told", { value: percent(row.accuracy), lower: percent(lower), upper: percent(upper), images: count(row.num_images) });
}
