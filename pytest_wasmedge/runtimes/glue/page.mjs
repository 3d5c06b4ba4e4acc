// The host in a browser: a page that receives invocations in one stream and runs each in a worker.
//
// It is loaded from a secret path on loopback, and posts there: `jobs` {phases_ns} opens the stream once the artifact is
// compiled, `results/N` sends an outcome, and `failed` says why there will be no stream.

import { stopwatch } from "./phases.mjs";
import { frameResult, parseInvocation } from "./wire.mjs";
import { Workers, bootWebWorker } from "./workers.mjs";

const boot = (onmessage, onfailure) => bootWebWorker({ type: "module" }, onmessage, onfailure);

// Yields {number, body} for each frame. A frame is its number and the size of its body, four bytes each, then the body.
async function* frames(stream) {
  const reader = stream.getReader();
  let rest = new Uint8Array();
  // Returns null at the end of the stream.
  async function take(size) {
    const bytes = new Uint8Array(size);
    for (let at = 0; at < size; ) {
      if (rest.length === 0) {
        const { done, value } = await reader.read();
        if (done) return null;
        rest = value;
      }
      const part = rest.subarray(0, size - at);
      bytes.set(part, at);
      at += part.length;
      rest = rest.subarray(part.length);
    }
    return bytes;
  }
  for (let head; (head = await take(8)); ) {
    const view = new DataView(head.buffer);
    const body = await take(view.getUint32(4));
    if (body === null) return;
    yield { number: view.getUint32(0), body };
  }
}

const post = (to, body) => fetch(to, { method: "POST", body });

async function main() {
  const outputBytes = Number(document.documentElement.dataset.outputBytes);
  const workers = new Workers(boot);
  const { phases_ns, phase } = stopwatch();
  const response = await fetch("artifact.wasm");
  if (!response.ok) throw new Error(`the artifact was not served: HTTP ${response.status}`);
  const bytes = await response.arrayBuffer();
  phase("load");
  const module = await WebAssembly.compile(bytes);
  phase("compile");

  async function answer(number, body) {
    const { result, invocation } = await workers.run(module, { ...parseInvocation(body), outputBytes });
    await post(`results/${number}`, frameResult(result, invocation));
  }
  const jobs = await post("jobs", JSON.stringify({ phases_ns }));
  for await (const { number, body } of frames(jobs.body)) {
    // Frames with number 0 keep the connection alive, or, with a body, discard the workers.
    if (number > 0) answer(number, body);
    else if (body.length > 0) workers.discard();
  }
}

main().catch((error) => post("failed", `${error?.name}: ${error?.message}`));
