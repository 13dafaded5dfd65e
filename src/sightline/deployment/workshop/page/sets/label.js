// Give loose pictures a class, one after the other: by a click, or by a key.

import { announce, make, named } from "../../document.js";
import { count, isolated, percent, say } from "../../words/words.js";
import * as studio from "../ask.js";
import { button, field, followingCommand, jobAtWork, missing, opening, runChooser, trouble } from "../parts.js";
import { address, go, place } from "../place.js";
import { undoBar } from "./undo.js";

const MOST_KEYS = 9;

/** The pictures of a folder that lie in no class, in the order of a run's doubts or of their names. */
export async function showLabel(view, signal) {
  const { source, job } = place();
  if (source === undefined) {
    view.append(opening(say("label.title"), say("label.lead")), missing(say("missing.source"), "pictures", say("missing.choose")));
    return;
  }
  const asked = await studio.unlabelled(source, job);
  const select = await runChooser();
  if (signal.aborted) return;
  const back = make("a", { href: address("set", { source, job: null }), text: say("label.set") });
  view.append(opening(say("label.title"), say("label.lead"), make("p", {}, back)));
  if (asked.unreadable.length > 0) view.append(unreadable(asked.unreadable));
  const stage = new Stage(source, asked, job, signal);
  view.append(stage.undo, stage.node);
  if (select !== null && asked.count > 0) view.append(ordering(source, select, asked, signal));
  await stage.start();
}

function unreadable(rows) {
  const list = rows.map(([name, why]) => make("li", {}, named(name), make("span", { class: "faint", text: ` ${why}`, lang: "en" })));
  return make("details", {}, make("summary", { text: say("label.unreadable", { count: rows.length }) }), make("ul", {}, ...list));
}

/** Let a run say which pictures are the most doubtful. */
function ordering(source, select, asked, signal) {
  const work = make("div");
  const question = () => ({ kind: "answers", run: select.value, source });
  const start = button(say("label.ask"), async () => {
    try {
      const job = await studio.begin(question());
      const done = (last) => last.state === "done" && go("label", { source, run: select.value, job: last.name });
      work.replaceChildren(jobAtWork(job, { signal, done }));
    } catch (problem) {
      work.replaceChildren(trouble(problem));
    }
  });
  const form = make("form", { class: "form" }, field(say("missing.with"), select), make("div", { class: "buttons" }, start), followingCommand(select, question));
  form.addEventListener("submit", (event) => event.preventDefault());
  return make("details", { class: "ordering" }, make("summary", { text: say(asked.order === "name" ? "label.order" : "label.order-again") }), make("p", { class: "faint", text: say("label.order-about") }), form, work);
}

class Stage {
  constructor(source, asked, job, signal) {
    Object.assign(this, { source, asked, job, signal });
    this.due = [...asked.pictures];
    this.classes = [...asked.classes];
    this.numDone = 0;
    this.isBusy = false;
    this.known = new Map();
    this.node = make("section", { class: "panel stage", tabindex: "-1", "aria-label": say("label.stage") });
    this.node.addEventListener("keydown", (event) => this.key(event));
    this.undo = undoBar(source, (change) => this.undone(change));
  }

  async start() {
    await this.undo.refresh();
    this.draw();
    this.node.focus({ preventScroll: true });
  }

  draw() {
    const { now } = this;
    if (now === undefined) {
      this.node.replaceChildren(this.over());
      if (this.asked.count > this.asked.pictures.length) this.goOn();
      return;
    }
    const frame = make("span", { class: "picture large" });
    const words = make("div", { class: "stage-words" }, make("p", { class: "small faint progress-words", text: this.progress() }), make("p", { class: "stage-name" }, named(now.file)), this.suggestion(now), this.buttons(now), this.other(), this.wrong());
    this.node.replaceChildren(make("div", { class: "stage-picture" }, frame), words, make("p", { class: "small faint keys", text: say("label.keys") }));
    this.show(frame, now.file);
    if (this.due.length > 1) this.load(this.due[1].file);
  }

  get now() {
    return this.due[0];
  }

  /** So many are told at once, and then the next of them. */
  async goOn() {
    try {
      this.asked = await studio.unlabelled(this.source, this.job);
      this.due = [...this.asked.pictures];
      if (this.due.length > 0 && !this.signal.aborted) this.draw();
    } catch (problem) {
      this.node.append(trouble(problem));
    }
  }

  progress() {
    const order = say(this.asked.order === "name" ? "label.by-name" : "label.by-doubt");
    return say("label.left", { count: this.due.length, order });
  }

  /** Where classes are digits, each is its own key. */
  keyOf(name, number) {
    if (this.classes.every((one) => /^[0-9]$/.test(one))) return name;
    return number < MOST_KEYS ? String(number + 1) : null;
  }

  suggestion(now) {
    if (now.label === null) return null;
    const flags = now.flags.map((flag) => make("span", { class: `chip ${flag}`, text: say(`label.${flag}`) }));
    return make("p", { class: "suggestion" }, say("label.says", { label: isolated(now.label), share: percent(now.confidence) }), " ", ...flags);
  }

  buttons(now) {
    const choices = this.classes.map((name, number) => {
      const key = this.keyOf(name, number);
      const cap = key ? make("kbd", { text: key, "aria-hidden": "true" }) : null;
      return make("button", { type: "button", class: name === now.label ? "choice-of-class is-suggested" : "choice-of-class", "aria-keyshortcuts": key, onclick: () => this.label(name) }, cap, named(name));
    });
    const skip = make("button", { type: "button", class: "quiet", "aria-keyshortcuts": "s", onclick: () => this.skip(), text: say("label.skip") });
    return make("div", { class: "buttons class-buttons", role: "group", "aria-label": say("label.classes") }, ...choices, skip);
  }

  other() {
    const input = make("input", { type: "text", maxlength: "80", autocomplete: "off", "aria-label": say("set.new-class") });
    const form = make("form", { class: "other-class" }, input, make("button", { type: "submit", text: say("label.other") }));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (input.value.trim()) this.label(input.value.trim().normalize("NFC"));
    });
    return form;
  }

  wrong() {
    this.trouble = make("div", { class: "wrong" });
    return this.trouble;
  }

  over() {
    const words = this.asked.count === 0 && this.numDone === 0 ? say("label.none") : say("label.over");
    return make("div", { class: "over" }, make("h2", { text: words }), make("div", { class: "buttons" }, make("a", { class: "button main", href: address("pictures", { source: this.source, job: null }), text: say("set.look") }), make("a", { class: "button", href: address("set", { source: this.source, job: null }), text: say("set.add") })));
  }

  load(file) {
    if (!this.known.has(file)) this.known.set(file, studio.thumbnails(this.source, [file], true).then(([picture]) => picture));
    return this.known.get(file);
  }

  async show(frame, file) {
    try {
      const picture = await this.load(file);
      if (this.now?.file !== file) return;
      if (picture === null) frame.classList.add("is-plain");
      else frame.append(make("img", { src: picture.address, alt: file, class: picture.is_small ? "is-small" : null }));
    } catch {
      this.known.delete(file); // the frame stays empty; it can be labelled or passed over all the same
    }
  }

  async label(name) {
    if (this.isBusy || this.now === undefined) return;
    this.isBusy = true;
    const { now } = this;
    try {
      const change = await studio.inSet("label", this.source, { file: now.file, label: name });
      this.due.shift();
      this.numDone += 1;
      this.known.delete(now.file);
      if (!this.classes.includes(name)) this.classes.push(name);
      this.undo.show(change);
      this.draw();
      this.node.focus({ preventScroll: true });
      announce(say("label.heard", { name: now.file, label: name, left: count(this.due.length) }));
    } catch (problem) {
      this.trouble.replaceChildren(trouble(problem));
    } finally {
      this.isBusy = false;
    }
  }

  skip() {
    if (this.isBusy || this.now === undefined) return;
    this.due.push(this.due.shift());
    this.draw();
    this.node.focus({ preventScroll: true });
    announce(say("label.skipped", { name: this.now.file }));
  }

  undone(change) {
    if (change.kind === "label") {
      const known = this.asked.pictures.find((one) => one.file === change.file);
      this.due = this.due.filter((one) => one.file !== change.file);
      this.due.unshift(known ?? { file: change.file, label: null, confidence: null, flags: [] });
    }
    this.draw();
    this.node.focus({ preventScroll: true });
  }

  key(event) {
    // Within this panel alone, and not while somebody writes a name.
    if (event.target.tagName === "INPUT" || event.ctrlKey || event.metaKey || event.altKey) return;
    const name = this.classes.find((one, number) => this.keyOf(one, number) === event.key);
    const work = name === undefined ? { s: () => this.skip(), z: () => this.undo.undo() }[event.key.toLowerCase()] : () => this.label(name);
    if (work === undefined || event.repeat) return;
    event.preventDefault();
    work();
  }
}
