// Labels that are doubted, each with its picture: another class, or the one that it has.

import { announce, make, named } from "../../document.js";
import { isolated, percent, say } from "../../words/words.js";
import * as studio from "../ask.js";
import { button, commandLine, field, followingCommand, jobAtWork, missing, opening, pictureRow, runChooser, trouble } from "../parts.js";
import { address, go, place } from "../place.js";
import { inWords, undoBar } from "./undo.js";

const NUM_SHOWN = 12;

/** The labels that a check or a run doubts; without either, what finds them. */
export async function showCorrect(view, signal) {
  const { source, job } = place();
  view.append(opening(say("correct.title"), say("correct.lead")));
  if (job === undefined) {
    await choose(view, source, signal);
    return;
  }
  const told = await studio.job(job);
  if (signal.aborted) return;
  const around = make("div", { class: "view" });
  const done = async (last) => {
    if (last.result === null) return;
    try {
      around.replaceChildren(...(await doubts(last, signal)));
    } catch (problem) {
      around.replaceChildren(trouble(problem));
    }
  };
  view.append(told.state === "running" ? jobAtWork(told, { signal, done }) : commandLine(told.command), around);
  if (told.state !== "running") await done(told);
}

async function choose(view, source, signal) {
  const wrong = make("div");
  const begin = async (asked) => {
    try {
      const job = await studio.begin(asked);
      go("correct", { job: job.name });
    } catch (problem) {
      wrong.replaceChildren(trouble(problem));
    }
  };
  const select = await runChooser();
  if (signal.aborted) return;
  if (source === undefined && select === null) {
    view.append(missing(say("missing.source"), "pictures", say("missing.choose")));
    return;
  }
  if (source !== undefined) view.append(ofCheck(source, begin));
  if (select !== null) view.append(ofRun(select, begin));
  view.append(wrong);
}

function ofCheck(source, begin) {
  const asked = () => ({ kind: "audit", source, labels: true });
  const form = make("form", { class: "panel form" }, make("h2", { text: say("correct.by-check") }), make("p", { class: "faint", text: say("correct.by-check-about") }), make("p", {}, named(source || say("folder.top"))), make("div", { class: "buttons" }, button(say("correct.check"), () => begin(asked()), { class: "main" })));
  form.append(followingCommand(form, asked));
  return form;
}

function ofRun(select, begin) {
  const asked = () => ({ kind: "mistakes", run: select.value });
  const form = make("form", { class: "panel form" }, make("h2", { text: say("correct.by-run") }), make("p", { class: "faint", text: say("correct.by-run-about") }), field(say("missing.with"), select), make("div", { class: "buttons" }, button(say("correct.mistakes"), () => begin(asked()))));
  form.append(followingCommand(form, asked));
  return form;
}

async function doubts(job, signal) {
  const asked = await studio.doubts(job.name);
  const list = make("ul", { class: "doubts" });
  const tally = make("h2", { class: "tally-words", tabindex: "-1" });
  let numOpen = asked.count;
  const due = [...asked.rows];
  const tell = () => {
    tally.textContent = numOpen > 0 ? say("correct.left", { count: numOpen }) : say(asked.num_all > 0 ? "correct.over" : "correct.none");
    more.hidden = due.length === 0;
  };
  // What trains by the table, once there is one.
  const line = commandLine("");
  const drawLine = async () => {
    if (asked.table !== null) line.say(await studio.command({ kind: "train", source: asked.source, recipe: "transfer" }));
  };
  const undo = undoBar(asked.set, (change) => {
    const item = [...list.children].find((one) => one.dataset.file === change.file);
    numOpen += item ? 1 : 0;
    item?.open();
    tell();
    drawLine();
  });
  const settled = (item, change) => {
    numOpen -= 1;
    undo.show(change);
    tell();
    drawLine();
    const next = [...list.children].slice([...list.children].indexOf(item) + 1).find((one) => !one.dataset.done);
    (next?.querySelector("button") ?? (more.hidden ? tally : more)).focus();
  };
  const more = button(say("set.more"), () => {
    const shown = due.splice(0, NUM_SHOWN).map((row) => drawn(row, asked, settled));
    list.append(...shown);
    tell();
    if (list.children.length > NUM_SHOWN) shown[0]?.querySelector("button").focus();
  });
  more.click();
  if (!signal.aborted) await undo.refresh();
  const next = make("div", { class: "buttons closing" }, make("a", { class: "button main", href: address("audit", { source: asked.source, job: null }), text: say("look.audit") }), make("a", { class: "button", href: address("train", { source: asked.source, job: null }), text: say("look.train") }));
  const how = asked.table === null ? [make("p", { class: "small faint", text: say("correct.no-command") })] : [make("p", { class: "small faint", text: say("correct.table", { table: isolated(asked.table) }) }), line];
  await drawLine();
  return [undo, tally, list, more, ...how, next];
}

function drawn(row, asked, settled) {
  const picture = pictureRow(asked.source, [row.file]);
  const words = make("div", { class: "doubt-words" });
  const item = make("li", { class: "panel doubt" }, picture, words);
  item.dataset.file = row.file;
  // Beside a source that is no folder, a table says what moving a file says in one.
  const inTable = { correct: "relabel", keep: "keep-row", remove: "relabel" };
  const work = async (what, told) => {
    for (const one of words.querySelectorAll("button")) one.disabled = true;
    try {
      const change = await studio.inSet(asked.table === null ? what : inTable[what], asked.set, { source: asked.source, file: row.file, given: row.given, ...told });
      item.dataset.done = "yes";
      words.replaceChildren(make("p", { text: inWords(change) }));
      announce(inWords(change));
      settled(item, change);
    } catch (problem) {
      item.open();
      words.append(trouble(problem));
    }
  };
  item.open = () => {
    delete item.dataset.done;
    const sure = row.confidence === null ? "" : ` ${say("correct.sure", { share: percent(row.confidence) })}`;
    const told = make("dl", {}, make("dt", { text: say("correct.given") }), make("dd", {}, named(row.given)), make("dt", { text: say("correct.suggested") }), make("dd", {}, named(row.suggested), sure));
    // None of them stands out: a doubt is no advice.
    const accept = button(say("correct.accept", { label: isolated(row.suggested) }), () => work("correct", { label: row.suggested }));
    const keep = button(say("correct.keep", { label: isolated(row.given) }), () => work("keep", {}));
    words.replaceChildren(make("p", { class: "small faint" }, named(row.file)), told, make("div", { class: "buttons" }, accept, keep), another(row, asked, work));
  };
  item.open();
  return item;
}

function another(row, asked, work) {
  const select = make("select", { "aria-label": say("correct.another-of", { name: row.file }) }, make("option", { value: "", text: say("correct.another") }));
  for (const name of asked.classes) if (name !== row.given && name !== row.suggested) select.append(make("option", { value: name, text: name }));
  select.addEventListener("change", () => select.value && move.focus());
  const move = button(say("correct.move"), () => select.value && work("correct", { label: select.value }));
  const remove = button(say(asked.table === null ? "correct.remove" : "correct.leave-out"), () => work("remove", { label: "" }), { class: "quiet" });
  const line = make("div", { class: "buttons another" }, ...(select.options.length > 1 ? [select, move] : []), remove);
  return line;
}
