// Runs guests, one after the other, in a thread: it posts "ready", then answers each invocation.

import { run } from "./guest.mjs";

// Browsers, Deno and Bun have the Web's workers, Node has its own kind.
const web = typeof globalThis.postMessage === "function";
const port = web ? globalThis : (await import("node:worker_threads")).parentPort;

function answer({ module, job }) {
  const result = run(module, job);
  port.postMessage(result, [result.stdout.buffer, result.stderr.buffer, result.contents.buffer]);
}

if (web) {
  globalThis.onmessage = (event) => answer(event.data);
} else {
  port.on("message", answer);
}
port.postMessage("ready");
