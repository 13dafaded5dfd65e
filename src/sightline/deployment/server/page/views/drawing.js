// A sheet to draw on, for networks of small grey pictures; each line is answered as soon as it is drawn.

import { liveAnswer, spokenRow } from "./answer.js";
import { announce, byId, tell } from "../document.js";
import { take } from "./intake.js";
import { wordsOf } from "../queue/queue.js";
import { predictPatiently } from "../queue/server.js";
import { asked, on, store } from "../queue/store.js";
import { onLanguage, say } from "../words/words.js";

const SIDE = 28;
// As the digits that such networks learn were made: within 20 pixels, their centre of mass in the middle.
const BOX = 20;
const SHEET = 280;
const PEN = 20;
const STEP = 7;

let lines = []; // of points {x, y}, in pixels of the sheet
let isDown = false;
let pen = { x: SHEET / 2, y: SHEET / 2 }; // of the keys
let isPenDown = false;
let last = null;
let turn = 0;
let numKept = 0;

/** Make the sheet take lines. */
export function startDrawing() {
  on("model", offer);
  on("line", show);
  onLanguage(() => {
    offer();
    show();
  });
  byId("open-drawing").addEventListener("click", () => (byId("drawing").hidden ? open() : close()));
  byId("drawing-close").addEventListener("click", close);
  byId("drawing-clear").addEventListener("click", clear);
  byId("drawing-undo").addEventListener("click", undo);
  byId("drawing-keep").addEventListener("click", keep);
  byId("drawing-inverted").addEventListener("change", () => {
    paint();
    ask();
  });
  const sheet = byId("sheet");
  sheet.addEventListener("pointerdown", begin);
  sheet.addEventListener("pointermove", go);
  for (const name of ["pointerup", "pointercancel"]) sheet.addEventListener(name, end);
  sheet.addEventListener("keydown", byKeys);
  sheet.addEventListener("focus", paint);
  sheet.addEventListener("blur", paint);
}

const isDigits = () => store.model.classes.every((name) => /^\d$/.test(name));

function offer() {
  const input = store.model?.input;
  const isOffered = input?.height === SIDE && input?.width === SIDE && input?.channels === 1;
  byId("open-drawing").hidden = !isOffered;
  if (!isOffered) return close();
  const key = isDigits() ? "drawing.digit" : "drawing.title";
  byId("open-drawing").textContent = say(key);
  byId("drawing-title").textContent = say(key);
  return ask();
}

function open() {
  byId("drawing").hidden = false;
  byId("open-drawing").setAttribute("aria-expanded", "true");
  paint();
  byId("sheet").focus();
  byId("drawing").scrollIntoView({ block: "nearest" });
}

function close() {
  byId("drawing").hidden = true;
  byId("open-drawing").setAttribute("aria-expanded", "false");
}

function at(event) {
  const box = byId("sheet").getBoundingClientRect();
  return { x: ((event.clientX - box.left) / box.width) * SHEET, y: ((event.clientY - box.top) / box.height) * SHEET };
}

function begin(event) {
  if (event.button > 0) return;
  event.preventDefault();
  byId("sheet").focus({ preventScroll: true });
  byId("sheet").setPointerCapture(event.pointerId);
  isDown = true;
  lines.push([at(event)]);
  paint();
}

function go(event) {
  if (!isDown) return;
  // A browser joins quick movements into one event and keeps the points.
  const events = event.getCoalescedEvents?.() ?? [];
  for (const one of events.length > 0 ? events : [event]) lines.at(-1).push(at(one));
  paint();
}

function end() {
  if (!isDown) return;
  isDown = false;
  ask();
}

function byKeys(event) {
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  if (event.key === " ") {
    event.preventDefault();
    isPenDown = !isPenDown;
    if (isPenDown) lines.push([{ ...pen }]);
    else ask();
    announce(say(isPenDown ? "drawing.down" : "drawing.up"));
    return paint();
  }
  const move = moves[event.key];
  if (!move || event.altKey || event.ctrlKey || event.metaKey) return undefined;
  event.preventDefault();
  const within = (value) => Math.min(Math.max(value, 0), SHEET);
  pen = { x: within(pen.x + STEP * move[0]), y: within(pen.y + STEP * move[1]) };
  if (isPenDown) lines.at(-1)?.push({ ...pen });
  return paint();
}

function clear() {
  lines = [];
  isPenDown = false;
  last = null;
  turn += 1;
  paint();
  show();
}

function undo() {
  lines.pop();
  isPenDown = false;
  paint();
  if (lines.length === 0) clear();
  else ask();
}

const inks = () => (byId("drawing-inverted").checked ? ["#fff", "#000"] : ["#000", "#fff"]);

function stroke(context, width) {
  context.lineWidth = width;
  context.lineCap = context.lineJoin = "round";
  for (const line of lines) {
    context.beginPath();
    context.moveTo(line[0].x, line[0].y);
    // A point alone is a dot; a line to itself is drawn as one.
    for (const { x, y } of line.length > 1 ? line.slice(1) : line) context.lineTo(x, y);
    context.stroke();
  }
}

function paint() {
  const context = byId("sheet").getContext("2d");
  const [ground, ink] = inks();
  context.fillStyle = ground;
  context.fillRect(0, 0, SHEET, SHEET);
  context.strokeStyle = ink;
  stroke(context, PEN);
  if (document.activeElement === byId("sheet") && byId("sheet").matches(":focus-visible")) {
    context.beginPath();
    context.arc(pen.x, pen.y, PEN / 2 + 2, 0, 7);
    context.lineWidth = 3;
    context.strokeStyle = isPenDown ? "#ff9d57" : "#888";
    context.stroke();
  }
}

/** The lines as such networks learned them: light on dark, within the box, centred by mass. */
function digit() {
  const points = lines.flat();
  const [left, right] = [Math.min(...points.map(({ x }) => x)), Math.max(...points.map(({ x }) => x))];
  const [top, bottom] = [Math.min(...points.map(({ y }) => y)), Math.max(...points.map(({ y }) => y))];
  const extent = Math.max(right - left, bottom - top) + PEN;
  // A dot stays a dot.
  const scale = BOX / Math.max(extent, SHEET / 3);
  const shift = { x: SIDE / 2 - (scale * (left + right)) / 2, y: SIDE / 2 - (scale * (top + bottom)) / 2 };
  const mass = centre(rendered(scale, shift));
  return rendered(scale, { x: shift.x + SIDE / 2 - mass.x, y: shift.y + SIDE / 2 - mass.y });
}

function rendered(scale, shift) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = SIDE;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const [ground, ink] = inks();
  context.fillStyle = ground;
  context.fillRect(0, 0, SIDE, SIDE);
  context.strokeStyle = ink;
  context.setTransform(scale, 0, 0, scale, shift.x, shift.y);
  stroke(context, PEN);
  return canvas;
}

function centre(canvas) {
  const { data } = canvas.getContext("2d").getImageData(0, 0, SIDE, SIDE);
  const isDark = inks()[1] === "#000";
  let [sum, x, y] = [0, 0, 0];
  for (let place = 0; place < SIDE * SIDE; place += 1) {
    const weight = isDark ? 255 - data[4 * place] : data[4 * place];
    sum += weight;
    x += weight * ((place % SIDE) + 0.5);
    y += weight * (Math.floor(place / SIDE) + 0.5);
  }
  return sum > 0 ? { x: x / sum, y: y / sum } : { x: SIDE / 2, y: SIDE / 2 };
}

const asFile = (canvas) => new Promise((settle) => canvas.toBlob(settle, "image/png"));

async function ask() {
  if (lines.length === 0 || !store.model || byId("drawing").hidden) return;
  turn += 1;
  const mine = turn;
  const question = asked();
  try {
    const { row } = await predictPatiently(await asFile(digit()), question, { top: Math.min(10, store.model.classes.length) });
    if (mine !== turn) return; // more was drawn in the meantime
    last = { state: "answered", row, asked: question };
    tell("drawing-trouble", "");
    show();
    if (!row.error) announce(spokenRow(row));
  } catch (problem) {
    if (mine === turn) tell("drawing-trouble", wordsOf(problem));
  }
}

function show() {
  byId("drawing-answer").replaceChildren(...(last ? liveAnswer(last, 10) : []));
}

async function keep() {
  if (lines.length === 0) return;
  numKept += 1;
  const file = new File([await asFile(digit())], `drawing-${numKept}.png`, { type: "image/png" });
  take([{ file, name: say("drawing.named", { number: String(numKept) }) }]);
  clear();
}
