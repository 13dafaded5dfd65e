// The picture that was chosen: its answer in full, where the model looked, and what it has seen that is like it.

import { bars, headline, marks } from "./answer.js";
import { ability } from "./models.js";
import { announce, byId, make, named, tell } from "../document.js";
import { wordsOf } from "../queue/queue.js";
import { predictPatiently } from "../queue/server.js";
import { asked, changed, isSeveral, lineOf, on, store } from "../queue/store.js";
import { picture } from "./thumbnails.js";
import { count, isolated, onLanguage, say } from "../words/words.js";

const NEAREST = 5;

let shown = null; // {item, release}

/** Keep the detail true whatever changes. */
export function startDetail() {
  on("chosen items model", show);
  on("line", refresh);
  on("item", (event) => event.detail === store.chosen && show());
  onLanguage(show);
  byId("show-map").addEventListener("click", () => toggle("map", { map: true }));
  byId("show-nearest").addEventListener("click", () => toggle("nearest", { nearest: NEAREST }));
}

function show() {
  const item = store.chosen;
  byId("detail").hidden = item === null;
  if (item !== shown?.item) {
    shown?.release();
    shown = item && { item, ...picture(item.file, say("picture.alt", { name: isolated(item.name) })) };
  }
  if (!item) return;
  byId("detail-name").replaceChildren(named(item.name));
  byId("detail-answer").replaceChildren(...answer(item));
  tell("detail-trouble", item.extras.trouble ?? "");
  byId("detail-source").textContent = source(item);
  showPicture(item);
  showNearest(item);
  showButtons(item);
  refresh();
}

/** What depends on where the line is. */
function refresh() {
  const item = store.chosen;
  if (!item) return;
  byId("detail-bars").replaceChildren(...bars(item.row));
  document.querySelector("#line .scale").style.setProperty("--line-here", String(item.row?.top?.length ? lineOf(item.row) : store.line));
  byId("detail-bars").hidden = !item.row?.top?.length;
  // Each label has a line of its own, which its bar shows.
  byId("line").classList.toggle("is-several", isSeveral(item.row));
  byId("detail-marks").replaceChildren(...marks(item));
}

function answer(item) {
  if (item.row) return headline(item.row);
  if (item.state === "refused" || item.state === "unsent") {
    const title = say(item.state === "refused" ? "answer.refused" : "answer.unsent");
    return [make("p", { class: "label is-none", text: title }), make("p", { text: item.why })];
  }
  return [make("p", { class: "label is-none", text: say("answer.waiting") })];
}

function source(item) {
  if (!item.row || !item.asked) return "";
  return say("answer.source", { model: isolated(item.asked.model), ms: count(Math.round(item.took ?? 0)) });
}

function showButtons(item) {
  const isAnswered = item.state === "answered" && !item.row?.error;
  byId("detail-more").hidden = !isAnswered;
  for (const [id, name] of [["show-map", "maps"], ["show-nearest", "nearest"]]) {
    byId(id).hidden = !ability(store.model, name).possible;
  }
  byId("show-map").setAttribute("aria-pressed", String(Boolean(item.extras.isMapShown)));
  byId("show-nearest").setAttribute("aria-expanded", String(Boolean(item.extras.isNearestShown)));
}

function showPicture(item) {
  const map = item.extras.isMapShown ? item.extras.map : null;
  const figure = byId("detail-picture");
  if (!map) {
    if (figure.firstChild !== shown.frame || figure.childNodes.length > 1) figure.replaceChildren(shown.frame);
    return;
  }
  const label = isolated(map.label ?? item.row.label);
  const image = make("img", { src: `data:image/png;base64,${map.png}`, alt: say("map.alt", { label }), class: "modest" });
  const ramp = make("span", { class: "ramp", "aria-hidden": "true" });
  const legend = make("p", { class: "legend small" }, say("map.against"), ramp, say("map.for", { label }));
  figure.replaceChildren(
    make("div", { class: "frame" }, image),
    make("figcaption", {}, legend, make("p", { class: "small faint", text: say("map.about") })),
  );
}

function showNearest(item) {
  const found = item.extras.isNearestShown ? (item.extras.nearest ?? []) : [];
  byId("nearest").hidden = found.length === 0;
  byId("nearest").replaceChildren(
    make("p", { class: "small faint", text: say("nearest.about") }),
    make("ol", { class: "near" }, ...found.map(near)),
  );
}

function near({ name, path, label, distance, thumbnail }) {
  const called = name ?? path ?? "";
  const alt = say("nearest.alt", { label: isolated(label ?? ""), name: isolated(called) });
  const seen = thumbnail ? make("img", { src: `data:image/webp;base64,${thumbnail}`, alt }) : null;
  const far = typeof distance === "number" ? make("span", { class: "small faint", text: say("nearest.distance", { distance: distance.toFixed(2) }) }) : null;
  return make("li", {}, seen, make("span", { class: "near-words" }, make("strong", {}, named(label ?? "")), make("span", { class: "small" }, named(called)), far));
}

/** Show or hide what is asked for by click alone, as it costs the server more than the answer. */
async function toggle(name, extra) {
  const item = store.chosen;
  const flag = name === "map" ? "isMapShown" : "isNearestShown";
  const { extras } = item;
  extras[flag] = !extras[flag];
  extras.trouble = "";
  if (extras[flag] && !extras[name]) await fetchExtra(item, name, extra, flag);
  if (item === store.chosen) show();
  if (extras[flag]) announce(say(`${name}.shown`, { label: isolated(item.row?.label ?? ""), count: extras.nearest?.length ?? 0 }));
}

async function fetchExtra(item, name, extra, flag) {
  const { extras } = item;
  const button = byId(name === "map" ? "show-map" : "show-nearest");
  button.setAttribute("aria-busy", "true");
  try {
    const question = { ...asked(), coverage: null, max_error: null, novelty: null };
    const { row } = await predictPatiently(item.file, question, { top: 1, ...extra });
    if (name === "map") extras.map = mapOf(row);
    else extras.nearest = row.nearest ?? [];
    if (name === "map" && !extras.map) throw new Error(say("map.none"));
  } catch (problem) {
    extras[flag] = false;
    extras.trouble = wordsOf(problem);
  } finally {
    button.removeAttribute("aria-busy");
  }
}

const mapOf = (row) => (row.map_png ? { label: row.explained ?? row.label, png: row.map_png } : null);

/** Choose a picture of the list. */
export function choose(item) {
  store.chosen = item;
  changed("chosen");
}
