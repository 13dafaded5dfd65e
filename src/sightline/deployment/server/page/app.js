// Where the page begins: words, then models, then whatever is dropped on it.

import { startModels } from "./views/models.js";
import { startCamera } from "./views/camera.js";
import { startDetail } from "./views/detail.js";
import { byId, tell } from "./document.js";
import { startDownload } from "./views/download.js";
import { startDrawing } from "./views/drawing.js";
import { startIntake } from "./views/intake.js";
import { startLine } from "./views/line.js";
import { startList } from "./views/list.js";
import { wordsOf } from "./queue/queue.js";
import { store } from "./queue/store.js";
import { say, startWords } from "./words/words.js";

async function begin() {
  tell("start-trouble", "");
  try {
    await startModels();
    if (store.model === null) nothing(say("start.empty"));
  } catch (problem) {
    nothing(wordsOf(problem));
  }
  byId("intake").toggleAttribute("inert", store.model === null);
}

function nothing(why) {
  byId("model-title").dataset.word = "start.silent";
  byId("model-title").textContent = say("start.silent");
  tell("start-trouble", why);
}

await startWords();
startIntake();
startDetail();
startList();
startLine();
startCamera();
startDrawing();
startDownload();
byId("start-again").addEventListener("click", begin);
await begin();
