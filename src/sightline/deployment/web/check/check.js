"use strict";
// Opens the page, fetches one duty after the other, has the page's own worker do it, and sends back what came out.

function bytesOf(result) {
  if (ArrayBuffer.isView(result)) return result; // of the page, whose types are not ours
  // Of each image its logits, then how far it is from what was learned; NaN where the network does not tell.
  const rows = result.map(({ logits, novelty }) => [...logits, novelty ?? NaN]);
  return new Float32Array(rows.flat());
}

async function done(classifier, { duty, type, ...values }, body) {
  if (duty === "outputs") return { body: bytesOf(await classifier.ask(duty, { images: new Uint8Array(body) })) };
  const picture = new Blob([body], { type: type || "" });
  const result = await classifier.ask(duty, { picture, isInverted: false, ...values });
  return duty === "pixels" ? { body: bytesOf(result) } : { told: result };
}

// An answer is a line of JSON, then bytes.
async function send(told, body) {
  const line = new TextEncoder().encode(`${JSON.stringify(told)}\n`);
  await fetch("../done", { method: "POST", body: new Blob([line, body || new Uint8Array()]) });
}

// The page as everybody opens it.
function opened() {
  return new Promise((resolve, reject) => {
    const frame = document.getElementById("page");
    frame.onload = () => {
      const { sightline } = frame.contentWindow;
      if (sightline) resolve(sightline);
      else reject(new Error("its scripts do not run"));
    };
    frame.src = "../page/index.html";
  });
}

async function work() {
  let page;
  try {
    page = await opened();
    await send({ result: await page.started });
  } catch (error) {
    await send({ error: String(error.message) });
    return;
  }
  for (;;) {
    const response = await fetch("../next");
    if (response.status === 204) continue;
    try {
      const duty = JSON.parse(response.headers.get("X-Duty"));
      const { told, body } = await done(page.classifier, duty, await response.arrayBuffer());
      await send({ result: told ?? null }, body);
    } catch (error) {
      await send({ error: String(error.message) });
    }
  }
}

work();
