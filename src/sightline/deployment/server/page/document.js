// The document, and nothing that takes text for HTML: names of files and classes are strangers' text.

/** The element of that id. */
export const byId = (id) => document.getElementById(id);

/**
 * A new element. `text` is its text, "on…" listens, and all else is an attribute; null and false leave one out.
 */
export function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "text") node.textContent = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** A name in an element of its own, so that one written from right to left turns nothing beside it. */
export const named = (name) => make("bdi", { text: name });

/** Show a text in an element, or hide the element where there is none. */
export function tell(id, text) {
  byId(id).hidden = !text;
  (byId(`${id}-words`) ?? byId(id)).textContent = text ?? "";
}

/** Let who cannot see the page hear it. The same words twice are read twice. */
export function announce(text) {
  const announcer = byId("announcer");
  announcer.replaceChildren(make("p", { text }));
}
