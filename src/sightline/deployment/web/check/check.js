"use strict";
// Fetches one duty after the other, has the page's own worker do it, and sends back what came out.

function bytesOf(result) {
  if (result instanceof Uint8Array) return result;
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

async function work() {
  const classifier = new Classifier();
  try {
    await send({ result: await classifier.open() });
  } catch (error) {
    await send({ error: String(error.message) });
    return;
  }
  for (;;) {
    const response = await fetch("../next");
    if (response.status === 204) continue;
    try {
      const { told, body } = await done(classifier, JSON.parse(response.headers.get("X-Duty")), await response.arrayBuffer());
      await send({ result: told ?? null }, body);
    } catch (error) {
      await send({ error: String(error.message) });
    }
  }
}

work();
