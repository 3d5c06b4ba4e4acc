// Guests under the own node:wasi of Node, Deno or Bun, one after the other, each in a fresh instance with a WASI of its own.
//
// In a guest's folder are given.json, {"args":[],"env":{},"preopens":{}}, and named pipes: the guest's standard streams,
// and `report`, which is told "started" and at the end how it ended: {ending: {kind, status, detail}, phases_ns, invocation}.
// A worker that goes on posts the end; it ends by itself after a trap, a failure, and much memory.

import { closeSync, openSync, readFileSync, writeSync } from "node:fs";
import process from "node:process";
import { WASI } from "node:wasi";
import { parentPort } from "node:worker_threads";
import { endingOf } from "./endings.mjs";
import { stopwatch } from "./phases.mjs";

const [PERM, NOTCAPABLE] = [63, 76];
// Engines may leave the memory of a guest that is gone for a long time, if its isolate goes on.
const MOST_GROWN_BYTES = 64 << 20;

// Closes a descriptor that may be closed already.
function closed(descriptor) {
  try {
    closeSync(descriptor);
  } catch {}
}

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

function run({ module, folder, invocation }) {
  const { phases_ns, phase } = stopwatch();
  const open = (name, flags) => openSync(`${folder}/${name}`, flags);
  // Opened for both, nothing waits for the other side.
  const report = open("report", "r+");
  const tell = (what) => writeSync(report, `${JSON.stringify(what)}\n`);
  const given = JSON.parse(readFileSync(`${folder}/given.json`, "utf8"));
  const streams = [open("stdin", "r"), open("stdout", "w"), open("stderr", "w")];
  tell("started");

  const [stdin, stdout, stderr] = streams;
  const wasi = new WASI({ version: "preview1", ...given, stdin, stdout, stderr, returnOnExit: true });
  const calls = { ...wasi.wasiImport };
  const folders = Object.keys(given.preopens).length;
  let opened = 0;
  calls.path_open = (...args) => (opened++, wasi.wasiImport.path_open(...args));

  let instance;
  const size = () => instance?.exports.memory?.buffer?.byteLength ?? 0;
  let first = 0;
  const end = (ending, unwound = true) => {
    phase(instance ? "run" : "instantiate");
    // What the guest has open, it has under the lowest numbers. By ours we could close what is another guest's by now.
    for (let descriptor = 0; descriptor < 3 + folders + opened; descriptor++) {
      try {
        calls.fd_close(descriptor);
      } catch {
        // Of one that never started, nothing else has been closed.
        if (streams[descriptor]) closeSync(streams[descriptor]);
      }
    }
    // Those of Deno are each worker's own, and stay open beside what the guest had.
    if (process.versions.deno) streams.forEach((stream) => closed(stream));
    const goes_on = unwound && ending.kind === "exited" && size() - first <= MOST_GROWN_BYTES;
    if (!goes_on) tell({ ending, phases_ns, invocation });
    closeSync(report);
    goes_on ? parentPort.postMessage({ ending, phases_ns }) : process.exit(0);
  };

  try {
    if (wasi.FD_MAP) forBun(wasi, streams, end);
    instance = new WebAssembly.Instance(module, {
      wasi_snapshot_preview1: folders ? held(calls, () => instance.exports.memory) : calls,
    });
    first = size();
    phase("instantiate");
    end({ kind: "exited", status: wasi.start(instance) >>> 0, detail: "" });
  } catch (error) {
    end(endingOf(error));
  }
}

// Bun takes neither descriptors nor returnOnExit. At proc_exit it calls `bindings.exit`, where we end the worker: what
// would be thrown there a guest could catch.
function forBun(wasi, streams, end) {
  streams.forEach((real, descriptor) => (wasi.FD_MAP.get(descriptor).real = real));
  // By it, Bun tells of wrong buffers; a guest could fill the log.
  console.log = () => {};
  wasi.bindings.exit = (status) => end({ kind: "exited", status: status >>> 0, detail: "" }, false);
}

parentPort.on("message", run);
