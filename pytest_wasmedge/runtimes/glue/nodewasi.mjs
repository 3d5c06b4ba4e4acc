// Guests under the own node:wasi of Node, Deno or Bun: one process, and workers that run guests, one after the other.
//
// The argument is the path of the artifact. Prints one line {phases_ns} once the artifact is compiled. Each line on stdin
// is the path of a guest's folder (nodewasi_guest.mjs says what is in it); an empty one has the next guests start in fresh
// workers. Ends when stdin closes.

import { closeSync, openSync, readFileSync, writeSync } from "node:fs";
import process from "node:process";
import { Worker } from "node:worker_threads";
import { stopwatch } from "./phases.mjs";

const GUEST = new URL("./nodewasi_guest.mjs", import.meta.url);
// By default Node gives a worker four times the stack of a main thread. Deno does not keep the limit that it is told.
const LIMITS = process.versions.deno ? {} : { stackSizeMb: 1.25 };
// More may run at once, but no more wait for a guest. In Bun, nothing but the end of its worker stops a guest.
const MOST_KEPT = process.versions.bun ? 0 : 4;

const kept = [];
let served = 0;

// A worker that waits for a guest; ``folder`` is that of the guest which it runs, ``invocation`` its number.
function start() {
  const self = { folder: "", invocation: 0, ended: false };
  const tell = (what) => {
    try {
      const report = openSync(`${self.folder}/report`, "r+");
      writeSync(report, `${JSON.stringify(what)}\n`);
      closeSync(report);
    } catch {
      // Nobody waits for it any more.
    }
    self.folder = "";
  };
  // For a worker that could not tell it. If it could, nobody reads this; the pipe may even be gone.
  const lost = ({ code, name, message }) => {
    self.ended = true;
    const kind = code === "ERR_WORKER_OUT_OF_MEMORY" ? "out_of_memory" : "host_failed";
    const ending = { kind, status: null, detail: `${name}: ${message}` };
    if (self.folder) tell({ ending, invocation: self.invocation });
  };
  // Node's own list of what a worker has opened is of no use: a guest may have closed some.
  const options = { env: {}, resourceLimits: LIMITS, trackUnmanagedFds: false };
  self.worker = new Worker(GUEST, options);
  self.worker.on("message", (result) => {
    const keep = kept.length < MOST_KEPT;
    // Before it is told, so that whoever reads that finds the worker free.
    if (keep) kept.push(self);
    tell({ ...result, invocation: self.invocation });
    // After it, since Deno calls that an exit with status 1.
    if (!keep) self.worker.terminate();
  });
  self.worker.on("error", lost);
  self.worker.on("exit", (status) => {
    self.ended = true;
    if (status) lost(new Error(`the worker ended with status ${status}`));
  });
  return self;
}

function serve(module, folder) {
  // The last one that was used is the next one: its isolate is the warmest.
  const next = kept.pop() ?? start();
  if (next.ended) return serve(module, folder);
  next.folder = folder;
  next.invocation = MOST_KEPT ? next.invocation + 1 : ++served;
  next.worker.postMessage({ module, folder, invocation: next.invocation });
}

function discard() {
  for (const { worker } of kept.splice(0)) worker.terminate();
}

// It boots while the artifact is read and compiled.
kept.push(start());
const { phases_ns, phase } = stopwatch();
const bytes = readFileSync(process.argv[2]);
phase("load");
const module = await WebAssembly.compile(bytes);
phase("compile");

let rest = "";
process.stdin.setEncoding("utf8");
process.stdin.on("data", (text) => {
  const lines = (rest + text).split("\n");
  rest = lines.pop();
  for (const folder of lines) folder ? serve(module, folder) : discard();
});
for (const event of ["end", "error"]) process.stdin.on(event, () => process.exit(0));
process.stdout.write(`${JSON.stringify({ phases_ns })}\n`);
