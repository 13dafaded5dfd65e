// Sort a folder: a plan first, then the same in earnest, and back again.

import { make, named } from "../../document.js";
import { count, say } from "../../words/words.js";
import * as studio from "../ask.js";
import { button, field, followingCommand, jobAtWork, missing, opening, runChooser, trouble } from "../parts.js";
import { note, place } from "../place.js";

/** What to sort, by which run, into what; a plan has to be seen before it is carried out. */
export async function showSort(view, signal) {
  view.append(opening(say("sort.title"), say("sort.lead")));
  const [select, { ways }] = [await runChooser(), await studio.about()];
  if (select === null) {
    view.append(missing(say("missing.run"), "train", say("runs.train")));
    return;
  }
  const { form, asked } = chosen(select, ways);
  const work = make("div");
  const show = (job) => work.replaceChildren(jobAtWork(job, { signal, done: (last) => work.append(came(last)) }));
  const begin = async (what) => {
    try {
      const job = await studio.begin(what);
      note("sort", { run: select.value, folder: asked().source, into: job.about.into });
      show(job);
    } catch (problem) {
      work.replaceChildren(trouble(problem));
    }
  };
  const plan = button(say("sort.plan"), () => begin({ ...asked(), kind: "plan" }), { class: "main" });
  form.append(make("div", { class: "buttons" }, plan), followingCommand(form, () => ({ ...asked(), kind: "plan" })));
  view.append(form, work);
  const last = await lastOf();
  if (last !== null && !signal.aborted) show(last);

  function came(job) {
    if (job.result === null) return make("span");
    const { counts, num_files: files, left } = job.result;
    const rows = Object.entries(counts).map(([name, images]) => make("li", {}, named(`${name}/`), make("span", { class: "share", text: count(images) })));
    const parts = [make("h2", { text: say(`sort.${job.result.did}`, { count: files }) }), make("ul", { class: "places" }, ...rows)];
    if (left.length > 0) parts.push(make("p", { class: "notice", text: say("sort.left", { count: left.length }) }));
    if (job.page) parts.push(make("p", {}, make("a", { href: job.page, target: "_blank", rel: "noopener", text: say("sort.page") })));
    // What comes after a plan is that plan, whatever was changed in the form since.
    const carryOut = () => begin({ ...job.about, kind: "sort" });
    if (job.kind === "plan") parts.push(make("div", { class: "buttons" }, button(say("sort.do", { count: files }), carryOut, { class: "main" })));
    if (job.kind === "sort") parts.push(make("div", { class: "buttons" }, button(say("sort.undo"), () => begin({ kind: "undo", into: job.about.into }))));
    return make("section", { class: "panel" }, ...parts);
  }
}

async function lastOf() {
  const { into } = place();
  const found = (await studio.jobs()).find((job) => ["plan", "sort", "undo"].includes(job.kind) && job.about.into === into);
  return found ? studio.job(found.name) : null;
}

function chosen(select, ways) {
  const known = place();
  const folder = make("input", { type: "text", value: known.folder ?? "", required: true, autocomplete: "off", spellcheck: "false" });
  const into = make("input", { type: "text", value: known.into ?? "sorted", required: true, autocomplete: "off", spellcheck: "false" });
  const list = make("datalist", { id: "folders" });
  folder.setAttribute("list", "folders");
  folder.addEventListener("input", () => suggest(folder.value, list));
  suggest(folder.value, list);
  const by = make("select", {}, ...ways.map((way) => make("option", { value: way, text: say(`way.${way}`) })));
  const sure = make("input", { type: "number", min: "0", max: "100", step: "1", value: "50" });
  const form = make(
    "form",
    { class: "panel form" },
    field(say("missing.with"), select),
    field(say("sort.folder"), folder, say("sort.folder-hint")),
    field(say("sort.into"), into, say("sort.into-hint")),
    field(say("sort.by"), by),
    field(say("sort.sure"), sure, say("sort.sure-hint")),
    list,
  );
  form.addEventListener("submit", (event) => event.preventDefault());
  const asked = () => ({ run: select.value, source: folder.value, into: into.value, by: by.value, min_confidence: Number(sure.value) / 100 });
  return { form, asked };
}

/** Folders right below what is typed so far. */
async function suggest(typed, list) {
  const parent = typed.split("/").slice(0, -1).join("/");
  try {
    const found = await studio.folder(parent);
    list.replaceChildren(...found.folders.map((one) => make("option", { value: one.path })));
  } catch {
    list.replaceChildren();
  }
}
