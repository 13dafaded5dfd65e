// Choose a folder, and look at what is in it.

import { make, named } from "../../document.js";
import { count, say } from "../../words/words.js";
import * as studio from "../ask.js";
import { commandLine, field, opening, pictureRow, trouble } from "../parts.js";
import { address, go, place } from "../place.js";

/** The folder that is chosen, or folders to choose from. */
export async function showPictures(view, signal) {
  const { source, path } = place();
  if (source === undefined || path !== undefined) await choose(view, path ?? "");
  else await look(view, source, signal);
}

async function choose(view, path) {
  view.append(opening(say("folder.title"), say("folder.lead")));
  const found = await studio.folder(path);
  view.append(crumbs(found.path));
  const rows = [...found.folders.map(folderRow), ...found.files.map(fileRow)];
  if (rows.length > 0) view.append(make("ul", { class: "places" }, ...rows));
  else view.append(make("p", { class: "faint", text: found.num_images > 0 ? say("folder.images", { count: found.num_images }) : say("folder.empty") }));
  if (found.num_more > 0) view.append(make("p", { class: "faint", text: say("folder.more", { count: found.num_more }) }));
  if (found.folders.length > 0) {
    const use = make("a", { class: "button main", href: address("pictures", { source: found.path, path: null, run: null }), text: say("folder.use") });
    view.append(make("div", { class: "buttons closing" }, use), make("p", { class: "small faint", text: say("folder.use-hint") }));
  }
  view.append(newSet(found));
}

/** A new folder to put pictures into, or what is chosen here. */
function newSet(found) {
  const name = make("input", { type: "text", maxlength: "80", autocomplete: "off" });
  const wrong = make("div");
  const here = { source: found.path, path: null, run: null };
  const links = [make("a", { class: "button", href: address("set", here), text: say("set.add-here") })];
  if (found.num_images > 0) links.push(make("a", { class: "button", href: address("label", here), text: say("folder.label", { count: found.num_images }) }));
  const form = make("form", { class: "panel form" }, make("h2", { text: say("set.new") }), make("p", { class: "faint", text: say("set.lead") }), field(say("set.name"), name), wrong, make("div", { class: "buttons" }, make("button", { type: "submit", text: say("set.begin") }), ...links));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      const made = await studio.inSet("begin", undefined, { folder: found.path, name: name.value });
      go("set", { source: made.set, path: null, run: null });
    } catch (problem) {
      wrong.replaceChildren(trouble(problem));
    }
  });
  return form;
}

function crumbs(path) {
  const parts = path === "" ? [] : path.split("/");
  const links = parts.map((part, number) => {
    const whole = parts.slice(0, number + 1).join("/");
    return make("li", {}, make("a", { href: address("pictures", { path: whole }), "aria-current": number === parts.length - 1 ? "page" : null }, named(part)));
  });
  const top = make("li", {}, make("a", { href: address("pictures", { path: "" }), "aria-current": parts.length === 0 ? "page" : null, text: say("folder.top") }));
  return make("nav", { "aria-label": say("folder.where") }, make("ol", { class: "crumbs" }, top, ...links));
}

function folderRow(folder) {
  const parts = [];
  if (folder.num_folders > 0) parts.push(say("folder.folders", { count: folder.num_folders }));
  if (folder.num_images > 0) parts.push(say("folder.images", { count: folder.num_images }));
  const href = address("pictures", { path: folder.path });
  return make("li", {}, make("a", { href }, named(folder.name)), make("span", { class: "faint small", text: parts.join(", ") || say("folder.none") }));
}

function fileRow(file) {
  const href = address("pictures", { source: file.path, path: null, run: null });
  return make("li", {}, make("a", { href }, named(file.name)), make("span", { class: "faint small", text: say("folder.source") }));
}

async function look(view, source, signal) {
  const other = make("a", { href: address("pictures", { path: source.split("/").slice(0, -1).join("/") }), text: say("look.other") });
  const head = opening(source || say("folder.top"), say("look.loading"), make("p", {}, other));
  view.append(head);
  let found;
  try {
    found = await studio.look(source);
  } catch (problem) {
    head.querySelector(".lead").remove();
    view.append(trouble(problem), make("div", { class: "buttons" }, ...ofSet()));
    return;
  }
  if (signal.aborted) return;
  head.querySelector(".lead").textContent = say("look.lead", { images: count(found.num_images), classes: count(found.num_classes) });
  for (const remark of found.remarks) view.append(make("p", { class: "notice", text: remark, lang: "en" }));
  view.append(splits(found), leftOut(found), classes(source, found));
  const rest = found.num_classes - found.classes.length;
  if (rest > 0) view.append(make("p", { class: "faint", text: say("look.more", { count: rest }) }));
  const next = [
    make("a", { class: "button main", href: address("audit"), text: say("look.audit") }),
    make("a", { class: "button", href: address("train"), text: say("look.train") }),
    ...ofSet(),
  ];
  view.append(make("div", { class: "buttons closing" }, ...next), commandLine(`sightline show ${quoted(source)}`));
}

/** What changes a set. */
const ofSet = () => ["set", "label", "correct"].map((step) => make("a", { class: "button", href: address(step), text: say(`step.${step}`) }));

/** As a shell takes it for one word. */
const quoted = (text) => (/^[\w./][\w./-]*$/.test(text) ? text : text === "" ? "." : `'./${text.replaceAll("'", `'"'"'`)}'`);

function splits(found) {
  const parts = Object.entries(found.splits).map(([name, images]) => `${say(`split.${name}`)} ${count(images)}`);
  return make("p", { class: "faint", text: parts.length > 0 ? `${say("look.splits")} ${parts.join(" · ")}` : say("look.no-splits") });
}

function leftOut(found) {
  if (found.num_left_out === 0) return make("span");
  const rows = found.left_out.map(([name, why]) => make("li", {}, named(name), make("span", { class: "faint", text: ` ${why}`, lang: "en" })));
  return make("details", {}, make("summary", { text: say("look.left-out", { count: found.num_left_out }) }), make("ul", {}, ...rows));
}

function classes(source, found) {
  const most = Math.max(...found.classes.map((one) => one.count), 1);
  const rows = found.classes.map((one) => {
    const fill = make("span", { class: "fill" });
    fill.style.setProperty("--share", one.count / most);
    const head = make("div", { class: "class-head" }, make("h2", {}, named(one.name)), make("span", { class: "share", text: count(one.count) }), make("span", { class: "track" }, fill));
    return make("li", {}, head, pictureRow(source, one.rows));
  });
  return make("ul", { class: "class-list" }, ...rows);
}
