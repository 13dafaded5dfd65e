// Make a set: classes by name, pictures dropped, pasted, chosen or recorded into them.

import { announce, make, named } from "../../document.js";
import { count, isolated, say } from "../../words/words.js";
import * as studio from "../ask.js";
import { button, missing, opening, trouble } from "../parts.js";
import { address, place } from "../place.js";
import { cameraPanel } from "./camera.js";
import { undoBar } from "./undo.js";
import { filesOf, listen, numOf, send } from "./upload.js";

const MOST_WAITING = 40;
const MOST_REFUSED = 20;

/** The classes of a folder with their pictures, and all that puts some into them. */
export async function showSet(view, signal) {
  const { source } = place();
  if (source === undefined) {
    view.append(opening(say("set.title"), say("set.lead")), missing(say("missing.source"), "pictures", say("missing.choose")));
    return;
  }
  const found = await studio.set(source);
  if (signal.aborted) return;
  const lead = make("p", { class: "lead" });
  const head = opening(source || say("folder.top"), "", make("p", {}, make("a", { href: address("pictures", { path: source.split("/").slice(0, -1).join("/") }), text: say("look.other") })));
  head.querySelector(".lead").replaceWith(lead);
  view.append(head);
  if (found.splits.length > 0) {
    view.append(divided(source, found.splits));
    return;
  }
  new Workshop(view, source, lead, signal).draw(found);
}

function divided(source, splits) {
  const links = splits.map((name) => make("li", {}, make("a", { href: address("set", { source: `${source}/${name}`.replace(/^\//, "") }) }, named(name))));
  return make("div", { class: "notice" }, make("div", {}, make("p", { text: say("set.divided") }), make("ul", {}, ...links)));
}

class Workshop {
  constructor(view, source, lead, signal) {
    Object.assign(this, { view, source, lead, signal });
    this.boxes = make("div", { class: "set-classes" });
    this.undo = undoBar(source, () => this.reload());
    const isBehind = (box) => numOf(source, box.dataset.name) > MOST_WAITING;
    this.camera = cameraPanel((box, name, blob) => send(source, box.dataset.name, name, blob), isBehind, signal);
    this.takeDrops();
  }

  draw(found) {
    const next = [
      make("a", { class: "button main", href: address("pictures", { source: this.source }), text: say("set.look") }),
      make("a", { class: "button", href: address("audit"), text: say("look.audit") }),
      make("a", { class: "button", href: address("train"), text: say("look.train") }),
    ];
    this.more = make("p", { class: "faint" });
    this.view.append(this.undo, this.newClass(), this.boxes, this.more, make("div", { class: "buttons closing" }, ...next), make("p", { class: "small faint", text: say("set.no-command") }));
    this.fill(found);
  }

  fill(found) {
    this.camera.close();
    const boxes = found.classes.map((one) => this.box(one.name, one));
    this.loose = this.box("", found.loose);
    this.boxes.replaceChildren(...boxes, this.loose);
    this.more.textContent = found.num_more > 0 ? say("look.more", { count: found.num_more }) : "";
    this.undo.show(found.last);
    this.numSeries = found.num_series;
    this.series = new Set();
    this.tell();
  }

  async reload() {
    const found = await studio.set(this.source);
    if (!this.signal.aborted) this.fill(found);
  }

  tell() {
    const boxes = [...this.boxes.children];
    const images = boxes.reduce((sum, box) => sum + box.count, 0);
    this.lead.textContent = say("set.told", { images: count(images), classes: count(boxes.length - 1) });
    const numSeries = this.numSeries + this.series.size;
    if (numSeries > 0) this.lead.textContent += ` ${say("set.series", { count: numSeries })}`;
  }

  newClass() {
    const name = make("input", { type: "text", id: "new-class", maxlength: "80", autocomplete: "off" });
    const wrong = make("div");
    const line = make("div", { class: "one-line" }, name, make("button", { type: "submit", text: say("set.add-class") }));
    const form = make("form", { class: "new-class" }, make("label", { class: "field-label", for: "new-class", text: say("set.new-class") }), line, wrong);
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      wrong.replaceChildren();
      try {
        const told = await studio.inSet("class", this.source, { name: name.value });
        const box = this.box(told.class, { count: 0, files: [] });
        this.loose.before(box);
        this.tell();
        name.value = "";
        announce(say("set.made-class", { name: told.class }));
        box.scrollIntoView({ block: "nearest" });
        name.focus();
      } catch (problem) {
        wrong.replaceChildren(trouble(problem));
      }
    });
    return form;
  }

  /** One class, or what has none. */
  box(name, { count: images, files }) {
    const list = make("ul", { class: "pictures" });
    const title = name ? make("h2", {}, named(name)) : make("h2", { text: say("set.loose") });
    const tally = make("span", { class: "share" });
    const state = make("p", { class: "small faint waiting", role: "status" });
    const refused = make("ul", { class: "refused" });
    const input = make("input", { type: "file", multiple: true, accept: "image/*", hidden: true, tabindex: "-1", "aria-hidden": "true" });
    const about = name ? { "aria-label": say("set.choose-for", { name }) } : {};
    const choose = button(say("try.choose"), () => input.click(), about);
    const record = button(say("camera.open"), () => this.openCamera(box), { class: "open-camera", "aria-expanded": "false", ...(name ? { "aria-label": say("set.record-for", { name }) } : {}) });
    const rename = name ? button(say("set.rename"), () => this.rename(box), { class: "quiet", "aria-label": say("set.rename-of", { name }) }) : null;
    const more = button(say("set.more"), () => this.showMore(box), { class: "quiet" });
    const label = name ? null : make("a", { class: "button", href: address("label", { source: this.source }), text: say("set.label") });
    const box = make("section", { class: name ? "panel class-box" : "panel class-box is-loose", "aria-label": name || say("set.loose") }, make("div", { class: "box-head" }, title, tally, rename), name ? null : make("p", { class: "small faint", text: say("set.loose-hint") }), make("div", { class: "buttons" }, choose, record, label), make("p", { class: "small faint drop-hint", text: say("set.drop") }), make("div", { class: "camera-place" }), state, refused, input, list, more);
    box.dataset.name = name;
    box.count = 0;
    const tell = (number) => {
      box.count = number;
      tally.textContent = say("folder.images", { count: number });
      more.hidden = list.children.length >= number;
      if (label) label.hidden = number === 0;
    };
    box.added = (told) => {
      if (told.was_there) {
        announce(say("set.was-there", { name: told.file }));
        return;
      }
      list.prepend(this.frame(box, told.file, told));
      const series = /series-\d+-\d+(?=-\d+\.)/.exec(told.file);
      if (series) this.series.add(series[0]);
      tell(box.count + 1);
      this.tell();
    };
    box.refused = (file, problem) => {
      if (refused.children.length >= MOST_REFUSED) return;
      const words = problem instanceof studio.Gone ? say("page.lost") : problem.message.replace(`${file}: `, "");
      refused.append(make("li", {}, named(file), make("span", { text: `: ${words}`, lang: "en" })));
      announce(say("set.refused", { name: file }));
    };
    box.waiting = (number) => {
      state.textContent = number > 0 ? say("set.waiting", { count: number }) : "";
    };
    box.tell = tell;
    box.take = (blobs) => {
      refused.replaceChildren();
      for (const blob of blobs) send(this.source, name, blob.name || "picture.png", blob);
    };
    input.addEventListener("change", () => {
      box.take([...input.files]);
      input.value = "";
    });
    this.append(box, files);
    tell(images);
    listen(this.source, box);
    return box;
  }

  openCamera(box) {
    const opener = box.querySelector(".open-camera");
    if (opener.getAttribute("aria-expanded") === "true") {
      this.camera.close();
      return;
    }
    this.camera.open(box);
    opener.setAttribute("aria-expanded", "true");
  }

  append(box, files) {
    const frames = files.map((file) => this.frame(box, file, null));
    box.querySelector(".pictures").append(...frames);
    if (files.length === 0) return;
    studio.thumbnails(this.source, files).then(
      (pictures) => pictures.forEach((picture, number) => fill(frames[number], picture)),
      () => {}, // the frames stay empty
    );
  }

  async showMore(box) {
    const list = box.querySelector(".pictures");
    const files = await studio.picturesOfClass(this.source, box.dataset.name, list.children.length);
    if (this.signal.aborted) return;
    const shown = new Set([...list.children].map((item) => item.dataset.file));
    this.append(box, files.filter((file) => !shown.has(file)));
    if (files.length === 0) box.count = list.children.length;
    box.tell(box.count);
    list.children[shown.size]?.querySelector("button").focus();
  }

  frame(box, file, picture) {
    const remove = make("button", { type: "button", class: "remove", "aria-label": say("set.remove", { name: isolated(file) }), title: say("set.remove", { name: file }), onclick: () => this.remove(box, item) }, make("span", { "aria-hidden": "true", text: "×" }));
    const item = make("li", {}, make("span", { class: "picture" }), remove);
    item.dataset.file = file;
    if (picture) fill(item, picture);
    return item;
  }

  async remove(box, item) {
    try {
      const change = await studio.inSet("remove", this.source, { file: item.dataset.file });
      const near = item.nextElementSibling ?? item.previousElementSibling;
      item.remove();
      box.tell(box.count - 1);
      this.tell();
      this.undo.show(change);
      announce(say("set.removed", { name: change.file }));
      (near?.querySelector("button") ?? box.querySelector("button")).focus();
    } catch (problem) {
      box.refused(item.dataset.file, problem);
    }
  }

  rename(box) {
    if (numOf(this.source, box.dataset.name) > 0) return; // they are on their way to the name that it has
    const head = box.querySelector(".box-head");
    const was = [...head.children];
    const input = make("input", { type: "text", maxlength: "80", value: box.dataset.name, "aria-label": say("set.new-name", { name: box.dataset.name }) });
    const wrong = make("div", { class: "wrong" });
    const cancel = button(say("set.cancel"), () => {
      head.replaceChildren(...was);
      head.querySelector("button").focus();
    });
    const form = make("form", { class: "rename" }, input, make("button", { type: "submit", text: say("set.save") }), cancel, wrong);
    form.addEventListener("keydown", (event) => event.key === "Escape" && cancel.click());
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (input.value.trim() === box.dataset.name) return cancel.click();
      try {
        await studio.inSet("rename", this.source, { name: box.dataset.name, to: input.value });
        await this.reload();
        const name = input.value.trim().normalize("NFC");
        [...this.boxes.children].find((one) => one.dataset.name === name)?.querySelector("button").focus();
      } catch (problem) {
        wrong.replaceChildren(trouble(problem));
      }
      return null;
    });
    head.replaceChildren(form);
    input.focus();
    input.select();
  }

  takeDrops() {
    const boxOf = (node) => node?.closest?.(".class-box") ?? null;
    const mark = (box) => {
      for (const one of this.boxes.children) one.classList.toggle("is-over", one === box);
    };
    const hear = (kind, work) => addEventListener(kind, work, { signal: this.signal });
    for (const kind of ["dragenter", "dragover"]) {
      hear(kind, (event) => {
        event.preventDefault(); // else a picture that misses would replace the page
        mark(boxOf(event.target));
      });
    }
    hear("dragleave", (event) => event.relatedTarget === null && mark(null));
    hear("drop", async (event) => {
      event.preventDefault();
      mark(null);
      const box = boxOf(event.target);
      const files = await filesOf(event.dataTransfer); // what is dropped beside all boxes belongs to no class
      (box ?? this.loose).take(files);
    });
    hear("paste", (event) => {
      const files = [...event.clipboardData.files];
      if (files.length > 0) (boxOf(document.activeElement) ?? this.loose).take(files);
    });
  }
}

function fill(item, picture) {
  const frame = item.firstChild;
  if (picture === null) frame.classList.add("is-plain");
  else frame.append(make("img", { src: picture.address, alt: item.dataset.file, class: picture.is_small ? "is-small" : null }));
}
