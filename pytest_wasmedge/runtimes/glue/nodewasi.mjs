// One guest under the own node:wasi of Node or Deno: a process for one invocation.
//
// Gets two paths: the artifact, and a file {"args":[],"env":{},"preopens":{}}. It empties that file when the guest is
// about to start, and at the end writes into it how the guest ended, {"kind":…,"status":…,"detail":…}: the standard
// streams are the guest's, and every status that this process could end with is one that Node itself may end with.

import { readFileSync, writeFileSync } from "node:fs";
import { WASI } from "node:wasi";

// `process` is the global one: importing node:process opens its streams, which makes the guest's pipes non-blocking.

// As in guest.mjs, which needs the shim.
function endingOf(error) {
  const [name, message] = [error?.name ?? typeof error, String(error?.message ?? error)];
  const ending = (kind, detail) => ({ kind, status: null, detail });
  if (/call stack size/i.test(message)) {
    return ending("trapped", "stack overflow");
  }
  if (error instanceof WebAssembly.RuntimeError) {
    return ending("trapped", message);
  }
  if (error instanceof WebAssembly.Exception) {
    return ending("trapped", "uncaught exception");
  }
  if (error instanceof RangeError && /memory|alloc/i.test(message)) {
    return ending("out_of_memory", message);
  }
  return ending("host_failed", `${name}: ${message}`);
}

const [artifact, file] = process.argv.slice(2);
let ending;
try {
  const given = JSON.parse(readFileSync(file, "utf8"));
  const module = new WebAssembly.Module(readFileSync(artifact));
  const wasi = new WASI({ version: "preview1", ...given, returnOnExit: true });
  const instance = new WebAssembly.Instance(module, wasi.getImportObject());
  writeFileSync(file, "");
  ending = { kind: "exited", status: wasi.start(instance) >>> 0, detail: "" };
} catch (error) {
  ending = endingOf(error);
}
writeFileSync(file, JSON.stringify(ending));
// The answer is complete. An orderly exit would wait for what V8 compiles in the background, for seconds now and then,
// and print the warning that node:wasi is experimental: stderr is the guest's.
process.kill(process.pid, "SIGKILL");
