// Which model is asked, what it is, and what it is asked to promise.

import { byId, make, named } from "../document.js";
import { models } from "../queue/server.js";
import { changed, on, SEVERAL, store } from "../queue/store.js";
import { isolated, listed, onLanguage, percent, say } from "../words/words.js";

// Shares that may be asked for, the usual one marked; the server knows more.
const PROMISES = {
  coverage: { shares: [0.9, 0.95, 0.99], usual: 0.95 },
  max_error: { shares: [0.005, 0.01, 0.02, 0.05, 0.1], usual: 0.01 },
  novelty: { shares: [0.01, 0.05, 0.1], usual: 0.05 },
};
const MOST_CLASSES = 200;

/** What a model says of a thing that it may be able to do: {possible, why}. */
export const ability = (model, name) => model?.promises?.[name] ?? model?.[name] ?? { possible: false, why: null };

/** Ask the server for its models, and show the first. */
export async function startModels() {
  store.models = await models();
  byId("model").replaceChildren(...store.models.map(({ name }) => make("option", { value: name, text: name })));
  byId("chooser").hidden = store.models.length < 2;
  if (byId("model").onchange === null) {
    byId("model").onchange = (event) => use(store.models.find(({ name }) => name === event.target.value));
    onLanguage(() => store.model && show());
    // A server that went away in between says so when it is asked next.
    on("bundle", () => refresh().catch(() => {}));
  }
  if (store.models.length > 0) use(store.models[0]);
}

/** Take in what was put in place of a model's bundle; answers of the earlier one are told as such. */
async function refresh() {
  const found = await models();
  const same = found.find(({ name }) => name === store.model.name);
  if (!same) return;
  Object.assign(store, { models: found, model: same });
  show();
  changed("items");
}

function use(model) {
  store.model = model;
  for (const [name, { usual }] of Object.entries(PROMISES)) {
    store[name] = ability(model, name).possible ? usual : null;
  }
  show();
  changed("model");
}

function show() {
  const { model } = store;
  delete byId("model-title").dataset.word;
  byId("model-title").textContent = isolated(model.name);
  document.title = `${model.name} · Sightline`;
  byId("model-lead").replaceChildren(lead(model));
  byId("about").hidden = false;
  byId("about-list").replaceChildren(...about(model));
  byId("promise-list").replaceChildren(...Object.keys(PROMISES).map(promise));
}

function lead(model) {
  const isSeveral = model.task === SEVERAL;
  const said = say(isSeveral ? "model.lead.labels" : "model.lead", { count: model.classes.length, names: listed(model.classes, 6) });
  const found = isSeveral ? figure(model, "micro_f1", "labels") : figure(model, "accuracy");
  return found ? [said, found].join(say("list.joint")) : said;
}

/** A figure of the test images, as the bundle's metrics.json has it, as a sentence; "" where none is known. */
function figure(model, name, word = name) {
  const value = model.figures?.[name];
  const [lower, upper] = model.figures?.[`${name}_interval`] ?? [];
  if (typeof value !== "number") return "";
  // F1 is no share of anything that could be counted.
  const told = (one) => (name === "micro_f1" ? one.toFixed(3) : percent(one));
  if (typeof lower !== "number") return say(`figure.${word}`, { value: told(value) });
  return say(`figure.${word}.between`, { value: told(value), lower: told(lower), upper: told(upper) });
}

function about(model) {
  const { height, width, channels } = model.input;
  const classes = make("ul", { class: "classes" }, ...model.classes.slice(0, MOST_CLASSES).map(classEntry));
  const rest = model.classes.length - MOST_CLASSES;
  if (rest > 0) classes.append(make("li", { text: say("list.rest", { count: rest }) }));
  const size = say(channels === 1 ? "about.grey" : "about.colour", { width: String(width), height: String(height) });
  const rows = [
    [model.task === SEVERAL ? "about.labels" : "about.classes", classes],
    ["about.input", size],
    ["about.bundle", make("code", { text: model.bundle ?? "–" })],
  ];
  return rows.flatMap(([key, value]) => [make("dt", { text: say(key) }), make("dd", {}, value)]);
}

const classEntry = (name) => make("li", {}, named(name));

function promise(name) {
  const { possible, why } = ability(store.model, name);
  const word = store.model.task === SEVERAL && name === "coverage" ? "labels" : name;
  const { shares, usual } = PROMISES[name];
  const box = make("input", { type: "checkbox", id: `ask-${name}` });
  const options = shares.map((share) => make("option", { value: share, text: percent(share) }));
  const select = make("select", { id: `share-${name}`, "aria-label": say(`promise.${word}.share`) }, ...options);
  box.checked = store[name] !== null;
  select.value = String(store[name] ?? usual);
  const told = () => {
    store[name] = box.checked ? Number(select.value) : null;
    changed("asked");
  };
  box.addEventListener("change", told);
  select.addEventListener("change", told);
  const line = make("div", { class: "promise-line" }, make("label", { class: "check" }, box, say(`promise.${word}`)), select);
  const reason = possible || !why ? null : make("p", { class: "why small", lang: "en", text: why });
  return make("div", { class: "promise" }, line, make("p", { class: "faint small", text: say(`promise.${word}.means`) }), reason);
}
