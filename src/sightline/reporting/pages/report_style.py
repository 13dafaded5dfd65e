"""How the report of a run looks, beside what it shares with the page of an audit, and its script, as text."""

from __future__ import annotations

from typing import Final

REPORT_STYLE: Final = """
:root { --first: #0b62a4; --second: #b34700; }
@media (prefers-color-scheme: dark) { :root { --first: #6db3ee; --second: #ff9d57; } }
nav.contents ul { columns: auto; display: flex; flex-wrap: wrap; gap: .15rem 1.1rem; }
section { scroll-margin-top: 1rem; }
.headline { font-size: 1.15rem; max-width: 46rem; margin-top: 1.25rem; }
.headline b { display: block; font-size: 2.9rem; line-height: 1.1; letter-spacing: -.02em;
  font-variant-numeric: tabular-nums; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr)); gap: 1rem; margin: 1.25rem 0;
  padding: 0; list-style: none; }
.cards li { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .8rem 1rem; }
.cards b { display: block; }
.plain { padding-left: 1.2rem; max-width: 52rem; } .plain li { margin: .3rem 0; }
section > p { max-width: 52rem; } section > h3 { margin: 1.4rem 0 .4rem; }
.surest { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(30rem, 100%), 1fr)); gap: 0 .75rem; }
@media (min-width: 34.01rem) { .surest .doubt .pictures { gap: .9rem; } .surest .side { gap: .3rem; }
  .surest .doubt figure, .surest .doubt figure img { width: 4.7rem; } .surest .doubt figure img { height: 4.7rem; } }
.scroll { overflow-x: auto; }
.scroll table { width: auto; min-width: 100%; } .scroll th, .scroll td { white-space: nowrap; }
.scroll tbody th { max-width: 16rem; overflow: hidden; text-overflow: ellipsis; }
td.count, th.count { padding-left: .8rem; }
tbody tr { border-top: 1px solid var(--line); }
th button { font: inherit; color: inherit; background: none; border: 0; padding: 0; cursor: pointer;
  min-height: 1.75rem; text-align: inherit; }
#threshold-mark { fill: var(--second); }
th button::after { content: " \\2195"; } th[aria-sort=ascending] button::after { content: " \\2191"; }
th[aria-sort=descending] button::after { content: " \\2193"; }
.matrix td { text-align: right; font-variant-numeric: tabular-nums; padding: .2rem .5rem;
  background: color-mix(in srgb, var(--error) calc(var(--share, 0) * 1%), transparent); }
.matrix td.right { background: color-mix(in srgb, var(--note) 18%, transparent); }
.matrix a { color: inherit; display: block; } .matrix th { vertical-align: bottom; padding: .2rem .5rem; }
.matrix thead th + th { text-align: right; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(27rem, 100%), 1fr)); gap: 1rem 2rem; }
.plot { width: 100%; max-width: 44rem; height: auto; font-size: 12px; }
.plot text { fill: var(--faint); font-family: inherit; } .plot path { fill: none; stroke-width: 2; }
@media (max-width: 34rem) { .plot { font-size: 17px; } }
.plot .axis { stroke: var(--faint); stroke-width: 1; } .plot .grid { stroke: var(--line); stroke-width: 1; }
.plot .band { fill: var(--line); }
.plot .first path { stroke: var(--first); } .plot .first circle { fill: var(--first); }
.plot .second path { stroke: var(--second); stroke-dasharray: 6 3; } .plot .second circle { fill: var(--second); }
.plot .quiet path { stroke: var(--faint); stroke-width: 1; stroke-dasharray: 3 3; }
#slider { display: none; margin: .75rem 0; } #slider input { width: 100%; max-width: 44rem; }
#slider output { display: block; font-size: 1.05rem; max-width: 46rem; min-height: 3.2em; }
.has-script #slider { display: block; }
details.pair { border-top: 1px solid var(--line); padding: .2rem 0; margin: 0; scroll-margin-top: 1rem; }
details.pair summary { overflow-wrap: anywhere; }
button.plain-button { font: inherit; color: inherit; background: var(--card); border: 1px solid var(--faint);
  border-radius: .4rem; padding: .25rem .7rem; min-height: 1.9rem; cursor: pointer; display: none; }
.has-script button.plain-button { display: inline-block; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .7rem .9rem;
  overflow-x: auto; font-size: .85rem; }
@media print { nav, #slider, .plain-button { display: none !important; } section { break-inside: auto; }
  tr, figure, svg, .cards li, .doubt { break-inside: avoid; } th button::after { content: ""; }
  h2, h3 { break-after: avoid; }
  .scroll { overflow: visible; } pre { white-space: pre-wrap; } }
"""

# Everything is readable without it: it sorts tables, moves the threshold and opens what a link leads to.
REPORT_SCRIPT: Final = """
"use strict";
document.documentElement.classList.add("has-script");
const key = cell => cell ? (cell.dataset.value !== undefined ? Number(cell.dataset.value)
  : cell.textContent.trim().toLowerCase()) : "";
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = Array.from(table.tHead.rows[0].cells);
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const falling = head.getAttribute("aria-sort") === "ascending";
      heads.forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", falling ? "descending" : "ascending");
      const rows = Array.from(table.tBodies[0].rows);
      rows.sort((one, other) => {
        const a = key(one.cells[column]), b = key(other.cells[column]);
        const order = a < b ? -1 : a > b ? 1 : 0;
        return falling ? -order : order;
      });
      table.tBodies[0].append(...rows);
    });
  });
}
const matrix = document.querySelector("table.matrix"), turn = document.getElementById("sort-matrix");
if (matrix && turn) {
  const rows = Array.from(matrix.tBodies[0].rows), head = matrix.tHead.rows[0];
  const columns = [head, ...rows].map(row => Array.from(row.cells));
  const orders = [rows.map((_, place) => place), JSON.parse(matrix.dataset.order)];
  let now = 0;
  turn.addEventListener("click", () => {
    now = 1 - now;
    turn.textContent = turn.dataset[now ? "back" : "there"];
    [head, ...rows].forEach((row, line) => row.append(...orders[now].map(place => columns[line][place + 1])));
    matrix.tBodies[0].append(...orders[now].map(place => rows[place]));
  });
  turn.textContent = turn.dataset.there;
}
const slider = document.getElementById("threshold");
if (slider) {
  const steps = JSON.parse(slider.dataset.steps), total = Number(slider.dataset.total);
  const percent = share => (100 * share).toLocaleString("en", {maximumSignificantDigits: 3}) + " %";
  const say = () => {
    const [least, answered, wrong, x, y] = steps[Number(slider.value)];
    const sure = least > 0 ? "Where answers count only if their confidence is at least " + least + ": "
      : "Where every answer counts: ";
    const rest = total - answered;
    const words = sure + answered.toLocaleString("en") + " of " + total.toLocaleString("en") + " images are answered ("
      + percent(answered / total) + "), " + wrong.toLocaleString("en") + " of them wrongly ("
      + percent(answered ? wrong / answered : 0) + ")"
      + (rest ? "; " + rest.toLocaleString("en") + " are left to a person." : ".");
    document.getElementById("threshold-words").textContent = words;
    slider.setAttribute("aria-valuetext", words);
    const mark = document.getElementById("threshold-mark");
    mark.setAttribute("cx", x);
    mark.setAttribute("cy", y);
  };
  slider.addEventListener("input", say);
  say();
}
const open = () => {
  const target = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
  if (target && target.tagName === "DETAILS") { target.open = true; target.scrollIntoView(); }
};
addEventListener("hashchange", open);
open();
"""
