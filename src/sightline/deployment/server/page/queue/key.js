// The key of the server, kept in memory alone.

import { byId } from "../document.js";
import { say } from "../words/words.js";

let held = "";
let answer = null;

/** The key that was typed, or "". */
export const key = () => held;

/** Ask for a key, once however many ask; whether one was typed. */
export function askForKey() {
  answer ??= new Promise(open).finally(() => {
    answer = null;
  });
  return answer;
}

function open(settle) {
  const dialog = byId("key-dialog");
  byId("key-words").textContent = say(held ? "key.wrong" : "key.about");
  byId("key").value = "";
  const finish = (typed) => {
    held = typed ?? held;
    byId("key-form").onsubmit = null;
    byId("key-cancel").onclick = null;
    dialog.oncancel = null;
    byId("key").value = "";
    if (dialog.open) dialog.close();
    settle(typed !== null);
  };
  byId("key-form").onsubmit = (event) => {
    event.preventDefault();
    finish(byId("key").value.trim());
  };
  byId("key-cancel").onclick = () => finish(null);
  dialog.oncancel = () => finish(null);
  dialog.showModal();
}
