"use strict";
// The answers as they stand on the page, the newest first.

const MOST_BARS = 5;
const FEWEST_BARS = 2;
const LEAST_SHARE = 0.001; // what is below is shown where nothing else is

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

// Each label that is said with its share; of one class an image that class alone.
function headline(answer, names) {
  if (answer.labels && !answer.labels.length) return [element("strong", "is-none", word("no-label"))];
  return (answer.labels ?? [answer.order[0]]).map((index) => {
    const name = element("strong", "", names[index]);
    name.dir = "auto";
    const pair = element("span", "said");
    pair.append(name, element("span", "answer-share", sharePercent(answer.probabilities[index])));
    return pair;
  });
}

function bars(answer, names) {
  const list = element("ul", "bars");
  const shown = answer.order.filter((index, rank) => rank < FEWEST_BARS || answer.probabilities[index] >= LEAST_SHARE);
  for (const index of shown.slice(0, MOST_BARS)) {
    const share = answer.probabilities[index];
    const row = element("li", answer.labels?.includes(index) ? "is-said" : "");
    const bar = element("span", "bar-of");
    bar.setAttribute("aria-hidden", "true");
    bar.style.setProperty("--share", `${100 * share}%`);
    const label = element("span", "bar-name", names[index]);
    label.dir = "auto";
    row.append(label, element("span", "bar-share", sharePercent(share)), bar);
    list.append(row);
  }
  return list;
}

function mark(kind) {
  const made = element("p", `mark ${kind}`);
  made.append(element("b", "", word(kind)), word(`${kind}-more`));
  return made;
}

function setWords(answer, names, levels) {
  const listed = new Intl.ListFormat(language, { type: answer.labels ? "conjunction" : "disjunction" }).format(answer.set.map((index) => names[index]));
  const level = percent(Number(levels.sets));
  if (answer.labels) return element("p", "set", word(answer.set.length ? "set-labels" : "set-none", { names: listed, level }));
  return element("p", "set", word(answer.set.length === 1 ? "set-one" : "set", { names: listed, level }));
}

class AnswerList {
  // `onTurn` is called where a person wants light turned into dark.
  constructor(list, names, onTurn) {
    this.onTurn = onTurn;
    this.list = list;
    this.names = names;
    this.items = [];
    this.levels = null;
  }

  add(name, picture) {
    const shown = { url: URL.createObjectURL(picture), image: null, place: element("li", "answer") };
    const item = { name, picture, answer: null, error: null, ...shown };
    this.items.unshift(item);
    this.list.prepend(item.place);
    this.show(item);
    return item;
  }

  show(item) {
    const body = element("div", "answer-body");
    const head = element("p", "answer-name");
    const name = element("span", "file-name", item.name);
    name.dir = "auto";
    head.append(name);
    body.append(head);
    if (item.error) body.append(element("p", "failed", word(item.error)));
    else if (item.answer) this.showAnswer(item, body, head);
    else item.place.classList.add("is-waiting");
    item.place.replaceChildren(this.pictureOf(item), body);
  }

  showAnswer(item, body, head) {
    const { answer } = item;
    item.place.classList.remove("is-waiting");
    const time = Math.max(1, Math.round(answer.preparing + answer.answering));
    head.append(element("span", "time", word("took", { time: number(time) })));
    const label = element("p", "answer-label");
    label.append(...headline(answer, this.names));
    body.append(label);
    if (answer.novel) body.append(mark("novel"));
    if (answer.unsure) body.append(mark("unsure"));
    if (answer.looksInverted) body.append(this.inverseMark());
    body.append(bars(answer, this.names));
    if (answer.set) body.append(setWords(answer, this.names, this.levels));
  }

  inverseMark() {
    const made = element("p", "mark note", word("inverse"));
    const button = element("button", "quiet", word("turn"));
    button.type = "button";
    button.addEventListener("click", () => this.onTurn());
    made.append(button);
    return made;
  }

  pictureOf(item) {
    if (item.error) return element("div", "tile", "?");
    if (item.image) return item.image;
    const picture = (item.image = element("img", "picture"));
    picture.alt = "";
    picture.decoding = "async";
    picture.onload = () => picture.classList.toggle("small", picture.naturalWidth < 96);
    picture.onerror = () => {
      item.image = element("div", "tile", "?");
      picture.replaceWith(item.image);
    };
    picture.src = item.url;
    return picture;
  }

  showAll() {
    for (const item of this.items) this.show(item);
  }

  clear() {
    for (const item of this.items) URL.revokeObjectURL(item.url);
    this.items = [];
    this.list.replaceChildren();
  }

  spoken(item) {
    if (item.error) return `${item.name}: ${word(item.error)}`;
    const { answer } = item;
    if (answer.labels) return this.spokenLabels(item.name, answer);
    const share = sharePercent(answer.probabilities[answer.order[0]]);
    const doubts = ["novel", "unsure"].filter((kind) => answer[kind]).map((kind) => `${word(kind)}.`);
    return [word("spoken", { name: item.name, label: this.names[answer.order[0]], share }), ...doubts].join(" ");
  }

  spokenLabels(name, { labels, probabilities }) {
    const said = labels.map((index) => `${this.names[index]}, ${sharePercent(probabilities[index])}`);
    return `${name}: ${said.join("; ") || word("no-label")}.`;
  }

  // As tables of labels have them, "cat;dog"; a list where a name holds what parts them.
  tableLabels({ labels, probabilities }) {
    const said = labels.map((index) => this.names[index]);
    const isPlain = !said.some((name) => name.includes(";") || /^[[({]/.test(name));
    return [isPlain ? said.join(";") : JSON.stringify(said), labels.map((index) => probabilities[index].toFixed(6)).join(";")];
  }

  table() {
    const rows = this.items.map(({ name, answer, error }) => {
      if (!answer) return [name, "", "", "", "", "", error ? word(error) : ""];
      const best = answer.order[0];
      const set = answer.set ? answer.set.map((index) => this.names[index]).join("; ") : "";
      const told = (value) => (value === null ? "" : String(value));
      const label = answer.labels ? this.tableLabels(answer) : [this.names[best], answer.probabilities[best].toFixed(6)];
      return [name, ...label, told(answer.unsure), told(answer.novel), set, ""];
    });
    return [word("column"), ...rows.reverse()].map((row) => row.map(cell).join(",")).join("\r\n");
  }
}

// No program for tables takes it for a formula.
function cell(text) {
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
