// Guests under the own node:wasi of Node, Deno or Bun: one process, and a fresh worker for each guest.
//
// The argument is the path of the artifact. Prints one line {phases_ns} once the artifact is compiled. Each line on stdin
// is the path of a guest's folder: nodewasi_guest.mjs says what is in it. Ends when stdin closes.

import { openSync, readFileSync, writeSync } from "node:fs";
import process from "node:process";
import { Worker } from "node:worker_threads";
import { stopwatch } from "./phases.mjs";

const GUEST = new URL("./nodewasi_guest.mjs", import.meta.url);
// By default Node gives a worker four times the stack of a main thread. Deno does not keep the limit that it is told.
const LIMITS = process.versions.deno ? {} : { stackSizeMb: 1.25 };

function serve(module, folder) {
  // For a worker that could not tell it. If it could, nobody reads this; the pipe may even be gone.
  const lost = ({ code, name, message }) => {
    const kind = code === "ERR_WORKER_OUT_OF_MEMORY" ? "out_of_memory" : "host_failed";
    const ending = { kind, status: null, detail: `${name}: ${message}` };
    try {
      writeSync(openSync(`${folder}/report`, "r+"), `${JSON.stringify({ ending })}\n`);
    } catch {}
  };
  const options = { env: {}, workerData: { module, folder }, resourceLimits: LIMITS };
  // Node's own list of what a worker has opened is of no use: a guest may have closed some.
  const worker = new Worker(GUEST, { ...options, trackUnmanagedFds: false });
  worker.on("error", lost);
  worker.on("exit", (status) => status && lost(new Error(`the worker ended with status ${status}`)));
}

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
  for (const folder of lines) serve(module, folder);
});
for (const event of ["end", "error"]) process.stdin.on(event, () => process.exit(0));
process.stdout.write(`${JSON.stringify({ phases_ns })}\n`);
