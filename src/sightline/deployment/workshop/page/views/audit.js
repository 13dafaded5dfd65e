// What may be wrong with the pictures, in words and with pictures.

import { make, named } from "../../document.js";
import { count, say } from "../../words/words.js";
import * as studio from "../ask.js";
import { button, followingCommand, jobAtWork, lastJob, missing, opening, pictureRow, translated, trouble } from "../parts.js";
import { address, place } from "../place.js";

/** Start a check of the chosen folder, or show what the last one found. */
export async function showAudit(view, signal) {
  view.append(opening(say("audit.title"), say("audit.lead")));
  const { source } = place();
  if (source === undefined) {
    view.append(missing(say("missing.source"), "pictures", say("missing.choose")));
    return;
  }
  const work = make("div");
  const labels = make("input", { type: "checkbox" });
  const asked = () => ({ kind: "audit", source, labels: labels.checked });
  const start = button(say("audit.start"), () => begin(), { class: "main" });
  const form = make("form", { class: "panel form" }, make("p", {}, named(source || say("folder.top"))), make("label", { class: "check" }, labels, make("span", { text: say("audit.labels") })), make("div", { class: "buttons" }, start));
  form.append(followingCommand(form, asked));
  form.addEventListener("submit", (event) => event.preventDefault());
  view.append(form, work);
  const show = (job) =>
    work.replaceChildren(jobAtWork(job, { signal, done: (last) => work.append(found(last, source)) }));
  async function begin() {
    try {
      show(await studio.begin(asked()));
    } catch (problem) {
      work.replaceChildren(trouble(problem));
    }
  }
  const last = await lastJob("audit", (told) => told.source === source);
  if (last !== null && !signal.aborted) show(last);
}

function found(job, source) {
  if (job.result === null) return make("span");
  const { counts, groups } = job.result;
  const verdict = ["error", "warning", "note"].filter((name) => counts[name] > 0).map((name) => say(`audit.${name}s`, { count: counts[name] }));
  const head = make("h2", { text: verdict.length > 0 ? verdict.join(say("list.comma")) : say("audit.clean") });
  const { num_doubted: numDoubted } = job.result;
  const next = [make("a", { class: "button main", href: address("train"), text: say("look.train") })];
  if (numDoubted > 0) next.push(make("a", { class: "button", href: address("correct", { job: job.name }), text: say("correct.look", { count: numDoubted }) }));
  return make("section", { class: "findings" }, head, ...groups.map((group) => drawn(group, source)), make("div", { class: "buttons closing" }, ...next));
}

function drawn(group, source) {
  const more = group.num - group.findings.length;
  return make(
    "article",
    { class: `finding ${group.severity}` },
    make("p", { class: "severity", text: say(`audit.${group.severity}`) }),
    make("h3", { text: translated(`kind.${group.kind}`, group.title) + (group.num > 1 ? ` (${count(group.num)})` : "") }),
    make("p", { class: "faint", text: translated(`advice.${group.kind}`, group.advice) }),
    ...group.findings.map((one) => seen(one, source)),
    more > 0 ? make("p", { class: "faint", text: say("audit.more", { count: more }) }) : null,
  );
}

function seen(one, source) {
  const rest = one.num_paths - one.paths.length;
  const pictures = one.paths.length > 0 ? pictureRow(source, one.paths, one.paths) : null;
  return make("div", { class: "seen" }, make("p", { text: one.detail, lang: "en" }), pictures, rest > 0 ? make("p", { class: "small faint", text: say("audit.more", { count: rest }) }) : null);
}
