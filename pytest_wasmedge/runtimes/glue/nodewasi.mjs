// One guest under the own node:wasi of Node, Deno or Bun: a process for one invocation.
//
// The arguments are the paths of the artifact and of a file {"args":[],"env":{}}. We empty that file just
// before the guest starts, and at the end write to it how the guest ended, {"kind":…,"status":…,"detail":…}: the
// standard streams belong to the guest, and Node itself may end with any status that this process could end with.

import { readFileSync, writeFileSync } from "node:fs";
import { WASI } from "node:wasi";

// `process` is the global: importing node:process would open its streams, which makes the guest's pipes non-blocking.

// As in guest.mjs, which we cannot import without the shim.
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

// A normal exit would sometimes wait seconds for V8's compilations in the background, and would print a warning to the
// guest's stderr that node:wasi is experimental.
function end(ending) {
  writeFileSync(file, JSON.stringify(ending));
  process.kill(process.pid, "SIGKILL");
}

let ending;
try {
  const given = JSON.parse(readFileSync(file, "utf8"));
  const module = new WebAssembly.Module(readFileSync(artifact));
  const wasi = new WASI({ version: "preview1", ...given, returnOnExit: true });
  // Bun knows neither returnOnExit nor getImportObject: there proc_exit calls this. It throws nothing, since a guest could
  // catch that.
  if (wasi.bindings) wasi.bindings.exit = (status) => end({ kind: "exited", status: status >>> 0, detail: "" });
  const instance = new WebAssembly.Instance(module, { wasi_snapshot_preview1: wasi.wasiImport });
  writeFileSync(file, "");
  ending = { kind: "exited", status: wasi.start(instance) >>> 0, detail: "" };
} catch (error) {
  ending = endingOf(error);
}
end(ending);
