// How a training goes: lines of SVG, and the same numbers as a table.

import { make } from "../../document.js";
import { count, percent, say } from "../../words/words.js";

const NS = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [480, 240, 48, 12, 14, 28];
const STEPS = 4;

/** Two charts over the epochs, loss and accuracy, each with train and validation; a single epoch is no curve. */
export function curves(history) {
  if (history.length < 2) return make("div", { class: "curves" }, table(history, true));
  const charts = [
    chart(say("curves.loss"), history, "loss", (value) => value.toPrecision(2)),
    chart(say("curves.accuracy"), history, "accuracy", (value) => percent(value, 1)),
  ];
  return make("div", { class: "curves" }, ...charts, table(history, false));
}

function chart(title, history, key, told) {
  const lines = ["", "validation_"].map((split) => ({
    split: split ? "validation" : "train",
    points: history.filter((row) => Number.isFinite(row[split + key])).map((row) => [row.epoch, row[split + key]]),
  }));
  const values = lines.flatMap((line) => line.points.map(([, value]) => value));
  if (values.length === 0) return make("span");
  const bounds = bounded(values, key === "accuracy" ? 1 : Infinity);
  const epochs = Math.max(history.at(-1).epoch, 2);
  const x = (epoch) => LEFT + ((epoch - 1) / (epochs - 1)) * (WIDTH - LEFT - RIGHT);
  const y = (value) => TOP + (1 - (value - bounds[0]) / (bounds[1] - bounds[0])) * (HEIGHT - TOP - BOTTOM);
  const last = lines.filter((line) => line.points.length > 0).map((line) => `${say(`split.${line.split}`)} ${told(line.points.at(-1)[1])}`);
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${title}: ${last.join(", ")}` });
  for (let step = 0; step <= STEPS; step += 1) {
    const value = bounds[0] + ((bounds[1] - bounds[0]) * step) / STEPS;
    picture.append(svg("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) }), text(told(value), LEFT - 6, y(value) + 4, "end"));
  }
  picture.append(text(count(1), x(1), HEIGHT - 8, "middle"), text(count(epochs), x(epochs), HEIGHT - 8, "end"));
  for (const line of lines) {
    const path = line.points.map(([epoch, value], number) => `${number ? "L" : "M"}${x(epoch).toFixed(1)} ${y(value).toFixed(1)}`).join("");
    picture.append(svg("path", { class: `line ${line.split}`, d: path }));
    for (const [epoch, value] of line.points) picture.append(svg("circle", { class: line.split, cx: x(epoch), cy: y(value), r: line.points.length > 40 ? 0 : 2.5 }));
  }
  const legend = lines.map((line) => make("span", { class: `legend-${line.split}`, text: say(`split.${line.split}`) }));
  return make("figure", {}, make("figcaption", {}, make("strong", { text: title }), ...legend), picture);
}

/** A little more than all values need, so that no line lies on the edge. */
function bounded(values, highest) {
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const room = (most - least) * 0.06 || Math.abs(most) * 0.1 || 0.1;
  return [Math.max(least - room, least < 0 ? -Infinity : 0), Math.min(most + room, highest)];
}

function svg(tag, attributes) {
  const node = document.createElementNS(NS, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

function text(words, x, y, anchor) {
  const node = svg("text", { x, y, "text-anchor": anchor });
  node.textContent = words;
  return node;
}

function table(history, isOpen) {
  const keys = ["loss", "validation_loss", "accuracy", "validation_accuracy"];
  const heads = [say("curves.epoch"), ...keys.map((key) => say(`curves.${key}`))].map((head) => make("th", { scope: "col", text: head }));
  const cell = (row, key) => make("td", { text: !Number.isFinite(row[key]) ? "–" : key.endsWith("loss") ? row[key].toPrecision(3) : percent(row[key]) });
  const rows = history.map((row) => make("tr", {}, make("th", { scope: "row", text: count(row.epoch) }), ...keys.map((key) => cell(row, key))));
  const whole = make("table", { class: "numbers" }, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...rows));
  return make("details", { open: isOpen }, make("summary", { text: say("curves.numbers") }), make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": say("curves.numbers") }, whole));
}
