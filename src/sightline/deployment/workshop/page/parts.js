// What several steps are made of: headings, troubles, commands, jobs at work, pictures.

import { announce, make } from "../document.js";
import { say } from "../words/words.js";
import * as studio from "./ask.js";
import { address, place } from "./place.js";

const NEAR = "600px";

/** A title and what the step is for. */
export function opening(title, lead, ...more) {
  return make("div", { class: "opening" }, make("h1", { text: title }), make("p", { class: "lead", text: lead }), ...more);
}

/** What went wrong, in the words of the studio. */
export function trouble(problem) {
  const words = problem instanceof studio.Gone ? say("page.lost") : problem.message;
  announce(words);
  return make("div", { class: "trouble", role: "alert" }, make("p", { text: words }));
}

/** In the language of the page where it has words of its own for it, else as the library says it. */
export function translated(key, words) {
  const told = say(key);
  return told === key ? words : told;
}

/** The step asks for something that is chosen elsewhere. */
export function missing(words, step, label) {
  return make("div", { class: "notice" }, make("p", { text: words }), make("a", { class: "button", href: address(step), text: label }));
}

export const button = (label, onclick, attributes = {}) => make("button", { type: "button", text: label, onclick, ...attributes });

/** A command line with a button that copies it. */
export function commandLine(line) {
  const code = make("code", { text: line });
  const copy = button(say("command.copy"), async () => {
    await navigator.clipboard.writeText(code.textContent);
    announce(say("command.copied"));
    copy.textContent = say("command.copied");
  });
  const box = make("div", { class: "command" }, make("p", { class: "small faint", text: say("command.same") }), make("div", { class: "command-line" }, code, copy));
  box.say = (words) => {
    code.textContent = words;
    copy.textContent = say("command.copy");
  };
  return box;
}

/** A command line that follows what is chosen in a form. */
export function followingCommand(form, asked) {
  const box = commandLine("");
  box.hidden = true;
  const draw = async () => {
    try {
      box.say(await studio.command(asked()));
      box.hidden = false;
    } catch {
      box.hidden = true; // what is wrong with it is told when it is started
    }
  };
  form.addEventListener("input", draw);
  draw();
  return box;
}

// How far a command is, as it says in a line of its own: "features: 68 of 105 images, 7/s".
const COUNTED = /: ([\d,]+) of ([\d,]+) /;
const whole = (digits) => Number(digits.replaceAll(",", ""));

const seconds = (from, to) => {
  const passed = Math.max(0, Math.round(to - from));
  const minutes = `${Math.floor(passed / 60) % 60}:${String(passed % 60).padStart(2, "0")}`;
  return passed < 3600 ? minutes : `${Math.floor(passed / 3600)}:${minutes.padStart(5, "0")}`;
};

/**
 * A job at work: how it stands, the last it said, a button to stop it, and its command; `done` gets it at its end.
 */
export function jobAtWork(first, { signal, done, seen = () => {} }) {
  const state = make("p", { class: "state" });
  const line = make("p", { class: "small faint said-last" });
  const bar = make("progress", { "aria-label": say("job.progress") });
  const log = make("pre", { class: "log", tabindex: "0" });
  const details = make("details", {}, make("summary", { text: say("job.log") }), log);
  const stop = button(say("job.stop"), async () => {
    stop.setAttribute("aria-busy", "true");
    const atOnce = stop.dataset.asked === "yes";
    stop.dataset.asked = "yes";
    await studio.stop(first.name, atOnce);
    stop.textContent = say("job.stop-at-once");
    stop.removeAttribute("aria-busy");
  });
  const box = make("section", { class: "panel job", "aria-label": say("job.title") }, make("div", { class: "job-head" }, state, stop), bar, line, details, commandLine(first.command));
  const draw = (job) => {
    const isRunning = job.state === "running";
    const time = seconds(job.started, job.ended ?? Date.now() / 1000);
    state.textContent = say(`job.${job.state}`, { time });
    box.dataset.state = job.state;
    line.textContent = job.lines.at(-1) ?? (isRunning ? say("job.begins") : "");
    log.textContent = job.lines.join("\n");
    details.hidden = job.lines.length < 2;
    bar.hidden = stop.hidden = !isRunning;
    const counted = COUNTED.exec(line.textContent);
    if (counted === null) bar.removeAttribute("value");
    else bar.value = whole(counted[1]) / Math.max(whole(counted[2]), 1);
    seen(job);
  };
  draw(first);
  const isDone = (job) => job.state !== "running";
  // Whoever asked for this puts it into the page first.
  if (isDone(first)) queueMicrotask(() => done(first));
  else {
    studio
      .follow((left) => studio.job(first.name, left), isDone, draw, signal)
      .then(async () => {
        if (signal.aborted) return;
        const last = await studio.job(first.name);
        draw(last);
        announce(say(`job.${last.state}`, { time: seconds(last.started, last.ended ?? last.started) }));
        done(last);
      });
  }
  return box;
}

/** The last job of a kind about something, with its result; null where there is none. */
export async function lastJob(kind, isIt) {
  const found = (await studio.jobs()).find((job) => job.kind === kind && isIt(job.about));
  return found ? studio.job(found.name) : null;
}

/** Pictures of rows of a source: frames at once, what is in them as soon as somebody comes near. */
export function pictureRow(source, rows, names = []) {
  const frames = rows.map((row, number) => {
    const name = names[number] ?? (typeof row === "string" ? row : "");
    return make("li", {}, make("span", { class: "picture" }), name ? make("span", { class: "small faint", text: name }) : null);
  });
  const list = make("ul", { class: "pictures" }, ...frames);
  const fill = async () => {
    const found = await studio.pictures(source, rows);
    for (const [number, picture] of found.entries()) {
      const frame = frames[number].firstChild;
      if (picture === null) frame.classList.add("is-plain");
      else frame.append(make("img", { src: picture.address, alt: "", class: picture.is_small ? "is-small" : null }));
    }
  };
  // Of hundreds of classes nobody looks at all at once, and each photograph has to be opened for it.
  const near = new IntersectionObserver(
    (entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      near.disconnect();
      fill().catch(() => {}); // the frames stay empty
    },
    { rootMargin: NEAR },
  );
  if (rows.length > 0) near.observe(list);
  return list;
}

/** A label with what is chosen in it. */
export function field(label, control, hint = "") {
  return make("label", { class: "field" }, make("span", { class: "field-label", text: label }), control, hint ? make("span", { class: "small faint", text: hint }) : null);
}

/** Finished runs to choose from; the one that the address names is chosen. */
export async function runChooser(onchange = () => {}) {
  const finished = (await studio.runs()).filter((row) => row.state === "finished");
  if (finished.length === 0) return null;
  const select = make("select", { onchange });
  for (const row of finished) select.append(make("option", { value: row.run, text: row.run.replace(/^runs\//, "") }));
  const { run } = place();
  if (finished.some((row) => row.run === run)) select.value = run;
  return select;
}

