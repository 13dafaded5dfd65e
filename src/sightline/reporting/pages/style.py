"""How a page of an audit looks and is filtered: its style sheet and its script, as text."""

from __future__ import annotations

from typing import Final

STYLE: Final = """
:root { color-scheme: light dark; --ground: #fbfaf8; --card: #fff; --ink: #1d1c1a; --faint: #5c5a55; --line: #dcd9d2;
  --error: #b3261e; --warning: #8a5300; --note: #2b5f8a; --bar: #7d9bb5; --checker: #efede8; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #161614; --card: #201f1d; --ink: #eceae5; --faint: #aaa79f; --line: #3a3834;
    --error: #ff9b92; --warning: #f0b95b; --note: #8fc1ea; --bar: #4d6f8c; --checker: #2b2a27; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); line-height: 1.5;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main, header, footer { max-width: 66rem; margin: 0 auto; padding: 0 1.25rem; }
header { padding-top: 2.25rem; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; margin: 2.5rem 0 .75rem; }
h3 { font-size: 1.05rem; margin: 0; }
h2 + p { margin-bottom: .75rem; }
p { margin: .25rem 0; }
.faint, footer, figcaption, .more { color: var(--faint); }
.tally { display: flex; flex-wrap: wrap; gap: .5rem 1rem; margin: 1.25rem 0 0; padding: 0; list-style: none; }
.tally li { padding: .5rem .9rem; border: 1px solid var(--line); border-radius: .5rem; background: var(--card); }
.tally b { font-size: 1.35rem; margin-right: .35rem; font-variant-numeric: tabular-nums; }
.tally .error b, .error h3 { color: var(--error); } .tally .warning b, .warning h3 { color: var(--warning); }
.tally .note b, .note h3 { color: var(--note); }
nav ul { columns: 19rem; column-gap: 2rem; margin: 1rem 0 0; padding: 0; list-style: none; }
nav li { break-inside: avoid; padding: .15rem 0; } nav a { color: inherit; text-underline-offset: .2em; }
nav .error a { color: var(--error); } nav .warning a { color: var(--warning); } nav .note a { color: var(--note); }
form { position: sticky; top: 0; z-index: 1; background: var(--ground); border-bottom: 1px solid var(--line);
  display: flex; flex-wrap: wrap; gap: .5rem 1.1rem; align-items: center; padding: .7rem 0; margin-top: 1.25rem; }
form[hidden] { display: none; }
form label { display: inline-flex; gap: .4rem; align-items: center; min-height: 1.75rem; }
input[type=search] { font: inherit; color: inherit; background: var(--card); border: 1px solid var(--faint);
  border-radius: .4rem; padding: .3rem .6rem; width: 15rem; max-width: 60vw; }
:focus-visible { outline: 3px solid var(--note); outline-offset: 2px; }
article { scroll-margin-top: 4rem; background: var(--card); border: 1px solid var(--line);
  border-left: .3rem solid var(--line);
  border-radius: .5rem; padding: .9rem 1.1rem 1rem; margin: 0 0 1rem; }
article.error { border-left-color: var(--error); } article.warning { border-left-color: var(--warning); }
article.note { border-left-color: var(--note); }
.entry { border-top: 1px solid var(--line); padding-top: .6rem; margin-top: .7rem; overflow-wrap: anywhere; }
.pictures { display: flex; flex-wrap: wrap; gap: .75rem; margin-top: .6rem; }
figure { margin: 0; width: 8rem; }
figure img { display: block; width: 8rem; height: 8rem; object-fit: contain; border-radius: .3rem;
  background: var(--checker); border: 1px solid var(--line); }
figure img.small { image-rendering: pixelated; }
.doubt { border: 1px solid var(--line); border-radius: .5rem; background: var(--card); padding: .7rem 1.1rem 1rem;
  margin-top: .75rem; } .doubt .pictures { align-items: flex-end; gap: 1.25rem; }
.doubt figure, .doubt figure img { width: 6.2rem; } .doubt figure img { height: 6.2rem; }
.side { display: grid; grid-template-columns: repeat(3, max-content); gap: .4rem; }
.side p { grid-column: 1 / -1; font-size: .8rem; }
figcaption { font-size: .8rem; line-height: 1.3; margin-top: .25rem; overflow-wrap: anywhere; }
figcaption b { display: block; color: var(--ink); font-weight: 600; }
code, .paths { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; font-size: .85rem; }
.paths { margin: .4rem 0 0; padding-left: 1.1rem; overflow-wrap: anywhere; }
details { margin-top: .5rem; } summary { cursor: pointer; min-height: 1.75rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .3rem .6rem .3rem 0; vertical-align: top; overflow-wrap: anywhere; }
th { font-weight: 600; color: var(--faint); } tbody th { color: var(--ink); font-weight: 400; max-width: 18rem; }
.count { text-align: right !important; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.wide { width: 60%; } td.wide span { display: block; height: .8rem; margin-top: .35rem; background: var(--bar);
  border-radius: .2rem; min-width: 2px; }
footer { padding-top: 2rem; padding-bottom: 2.5rem; font-size: .9rem; }
[hidden] { display: none !important; }
@media (max-width: 34rem) {
  main, header, footer { padding-left: .85rem; padding-right: .85rem; } h1 { font-size: 1.4rem; }
  figure, figure img { width: calc((100vw - 5.2rem) / 3); } figure img { height: calc((100vw - 5.2rem) / 3); }
  .doubt figure, .doubt figure img { width: calc((100vw - 6rem) / 3); }
  .doubt figure img { height: calc((100vw - 6rem) / 3); } .doubt .pictures { gap: .6rem; }
  .pictures { gap: .5rem; } article { padding: .8rem .8rem .9rem; } .tally { gap: .5rem; }
  .tally li { padding: .35rem .6rem; } td.wide { width: 38%; } input[type=search] { max-width: none; width: 100%; }
  form label.search { width: 100%; } form { position: static; } }
@media print { form { display: none !important; } article { break-inside: avoid; } }
"""

# Everything is visible without it; it only hides what is not asked for.
SCRIPT: Final = """
"use strict";
const form = document.getElementById("filter"), shown = document.getElementById("shown");
const entries = Array.from(document.querySelectorAll(".entry"));
function apply() {
  const wanted = document.getElementById("words").value.trim().toLowerCase();
  let count = 0;
  for (const entry of entries) {
    const box = document.getElementById("show-" + entry.dataset.severity);
    const fits = (!box || box.checked) && entry.dataset.words.includes(wanted);
    entry.hidden = !fits;
    count += fits ? 1 : 0;
  }
  for (const outer of document.querySelectorAll("article, main > section.findings"))
    outer.hidden = !outer.querySelector(".entry:not([hidden])");
  shown.textContent = count + " of " + entries.length + " shown";
}
form.hidden = false;
form.addEventListener("input", apply);
form.addEventListener("submit", event => event.preventDefault());
apply();
"""
