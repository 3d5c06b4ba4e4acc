// Runs one guest in its own thread: it posts "ready", receives one invocation, answers, and is terminated.

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
  port.once("message", answer);
}
port.postMessage("ready");
