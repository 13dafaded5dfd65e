// One run: how it goes, what came of it, and its report.

import { make } from "../../document.js";
import { say } from "../../words/words.js";
import * as studio from "../ask.js";
import { button, commandLine, jobAtWork, missing, opening, trouble } from "../parts.js";
import { address, go, place } from "../place.js";
import { curves } from "./curves.js";
import { accuracy } from "./runs.js";

const MAKES_RUNS = ["train", "resume"];

/** Its job while it learns, its curves, and what can be done with it. */
export async function showRun(view, signal) {
  const { run } = place();
  if (run === undefined) {
    view.append(missing(say("run.none"), "runs", say("runs.title")));
    return;
  }
  const head = opening(run.replace(/^runs\//, ""), "");
  const [work, charts, rest] = [make("div"), make("div"), make("div")];
  view.append(head, work, charts, rest);
  const jobs = await studio.jobs();
  const latest = jobs.find((job) => MAKES_RUNS.includes(job.kind) && job.about.run === run);
  let isFollowed = false;
  const draw = (row) => {
    head.querySelector(".lead").textContent = row.state ? `${say(`state.${row.state}`)}. ${row.accuracy === null ? "" : say("run.right", { told: accuracy(row) })}` : "";
    const count = row.history?.length ?? 0;
    if (charts.dataset.count !== String(count)) charts.replaceChildren(count > 0 ? curves(row.history) : make("span"));
    charts.dataset.count = String(count);
  };
  const settle = async () => {
    try {
      const row = await studio.run(run);
      draw(row);
      rest.replaceChildren(...afterwards(row, rest, signal));
    } catch (problem) {
      if (latest === undefined) rest.replaceChildren(trouble(problem));
    }
  };
  if (latest !== undefined) {
    const done = () => {
      isFollowed = false;
      settle();
    };
    isFollowed = latest.state === "running";
    const seen = async () => {
      // There is no folder of the run before its pictures are divided.
      if (isFollowed) await studio.run(run).then(draw, () => {});
    };
    work.append(jobAtWork(await studio.job(latest.name), { signal, done, seen }));
    return;
  }
  await settle();
  // One that was begun in a terminal.
  const isStill = (row) => row.state === "running";
  if (isStill(await studio.run(run))) {
    await studio.follow((left) => studio.run(run, left), (row) => !isStill(row), draw, signal);
    if (!signal.aborted) await settle();
  }
}

function afterwards(row, rest, signal) {
  if (row.state === "interrupted") return [goOn(row, rest), commandLine(`sightline resume ${row.run}`)];
  if (row.state !== "finished") return row.reason ? [make("p", { class: "notice", text: row.reason, lang: "en" })] : [];
  const report = make("div");
  drawReport(row, report, signal);
  const next = ["try", "sort", "export", "correct"].map((step) => make("a", { class: "button", href: address(step), text: say(`step.${step}`) }));
  return [report, make("div", { class: "buttons closing" }, ...next)];
}

function goOn(row, rest) {
  const resume = button(
    say("run.resume"),
    async () => {
      try {
        const job = await studio.begin({ kind: "resume", run: row.run });
        go("run", { run: row.run, job: job.name });
      } catch (problem) {
        rest.append(trouble(problem));
      }
    },
    { class: "main" },
  );
  return make("div", { class: "notice" }, make("p", { text: say("run.interrupted") }), resume);
}

function drawReport(row, place, signal) {
  const write = async (full) => {
    try {
      const job = await studio.begin({ kind: "report", run: row.run, full });
      const done = async () => drawReport(await studio.run(row.run), place, signal);
      place.replaceChildren(jobAtWork(job, { signal, done: (last) => (last.state === "done" ? done() : null) }));
    } catch (problem) {
      place.append(trouble(problem));
    }
  };
  const open = row.report ? make("a", { class: "button main", href: row.report, target: "_blank", rel: "noopener", text: say("run.open-report") }) : null;
  const make_ = button(say(row.report ? "run.report-again" : "run.report"), () => write(false), row.report ? {} : { class: "main" });
  const whole = button(say("run.report-full"), () => write(true));
  place.replaceChildren(
    make("section", { class: "panel" }, make("h2", { text: say("run.report-title") }), make("p", { class: "faint", text: say("run.report-about") }), make("div", { class: "buttons" }, open, make_, whole), commandLine(`sightline report ${row.run}`)),
  );
}
