// The last change of a set, in words, with a button that takes it back.

import { announce, make } from "../../document.js";
import { isolated, say } from "../../words/words.js";
import * as studio from "../ask.js";
import { button, trouble } from "../parts.js";

/** What was done to which file. */
export function inWords(change) {
  const names = { file: change.file, given: change.given, label: change.label, to: change.to };
  const told = Object.fromEntries(Object.entries(names).map(([name, text]) => [name, isolated(text)]));
  const isOut = change.kind === "relabel" && change.label === "";
  return say(isOut ? "change.left-out" : `change.${change.kind}`, told);
}

/** A bar about the last change; `show` it, null for none, and `undone` is told what was taken back. */
export function undoBar(source, undone) {
  let last = null;
  const words = make("p");
  const back = button(say("change.undo"), () => box.undo());
  const wrong = make("div");
  const line = make("div", { class: "undo" }, words, back);
  const box = make("div", { class: "undo-box" }, line, wrong);
  box.show = (change) => {
    last = change;
    line.hidden = box.hidden = change === null;
    words.textContent = change === null ? "" : inWords(change);
    wrong.replaceChildren();
  };
  box.refresh = async () => box.show((await studio.set(source)).last);
  box.undo = async () => {
    if (last === null || back.getAttribute("aria-busy")) return;
    back.setAttribute("aria-busy", "true");
    try {
      const change = await studio.inSet("undo", source, { number: last.number });
      announce(say("change.undone", { words: inWords(change) }));
      await box.refresh();
      if (change.left.length > 0) tell(make("p", { class: "notice", text: change.left.join(" "), lang: "en" }));
      await undone(change);
    } catch (problem) {
      await box.refresh().catch(() => {});
      tell(trouble(problem));
    } finally {
      back.removeAttribute("aria-busy");
    }
  };
  function tell(node) {
    wrong.replaceChildren(node);
    box.hidden = false;
  }
  box.show(null);
  return box;
}
