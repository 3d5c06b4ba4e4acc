// One guest under the own node:wasi of Node, Deno or Bun: a process for one invocation.
//
// The arguments are the paths of the artifact and of a file {"args":[],"env":{},"preopens":{}}. We empty that file just
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

const [PERM, NOTCAPABLE] = [63, 76];

// Which arguments of a call are addresses of paths; after each comes the path's size.
const PATHS = {
  path_create_directory: [1],
  path_filestat_get: [2],
  path_filestat_set_times: [2],
  path_link: [2, 5],
  path_open: [2],
  path_readlink: [1],
  path_remove_directory: [1],
  path_rename: [1, 4],
  path_unlink_file: [1],
};

// Returns the calls for a guest that has folders. Neither program keeps one in them by itself (docs/design.md), but a
// path that goes down from where it starts, in a folder without symbolic links, leads nowhere else. So no link can be
// made, and any other path is refused, as both programs refuse most of them. PERM is what symlink(2) answers on a file
// system that has no links, and what programs expect there.
function held(calls, memoryOf) {
  const stays = (address, size) => {
    const bytes = new Uint8Array(memoryOf().buffer).slice(address >>> 0, (address >>> 0) + (size >>> 0));
    const names = new TextDecoder("latin1").decode(bytes).split(/[/\0]/);
    let depth = 0;
    const down = names.every((name) => {
      depth += name === ".." ? -1 : Number(name !== "" && name !== ".");
      return depth >= 0;
    });
    return down && (names[0] !== "" || names.length === 1);
  };
  const checked = ([name, places]) => [
    name,
    (...args) => (places.every((at) => stays(args[at], args[at + 1])) ? calls[name](...args) : NOTCAPABLE),
  ];
  return { ...calls, ...Object.fromEntries(Object.entries(PATHS).map(checked)), path_symlink: () => PERM };
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
  const calls = wasi.wasiImport;
  const folders = Object.keys(given.preopens).length;
  const instance = new WebAssembly.Instance(module, {
    wasi_snapshot_preview1: folders ? held(calls, () => instance.exports.memory) : calls,
  });
  writeFileSync(file, "");
  ending = { kind: "exited", status: wasi.start(instance) >>> 0, detail: "" };
} catch (error) {
  ending = endingOf(error);
}
end(ending);
