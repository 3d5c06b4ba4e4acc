// Runs one WASI preview 1 command and returns how it ended. The only file that imports the WASI shim.

import { OpenFolder, descriptorCalls } from "./descriptors.mjs";
import { pathCalls } from "./paths.mjs";
import { pollCall } from "./poll.mjs";
import { ERRNO, Refused } from "./preview1.mjs";
import { WASI } from "./shim/index.js";
import { Input, Output, OutputLimitReached } from "./streams.mjs";
import { Tree, flat } from "./tree.mjs";

// The same in every host: model.ARGV0.
const ARGV0 = "artifact.wasm";

class TimeLimitReached extends Error {}
// The guest passed an address outside its memory to a function of WASI: a trap, as if it had read there itself.
class OutOfBounds extends Error {}

// The guest's clocks: their numbers in preview 1, and for each its resolution and what it tells, in nanoseconds.
const REALTIME = 0;
const MONOTONIC = 1;
const RESOLUTION = { [REALTIME]: 1_000_000n, [MONOTONIC]: 5_000n };

class Clocks {
  // For the guest, time that we skip instead of sleeping has passed.
  #skipped = 0n;
  #last = 0n;

  constructor(timeoutMs) {
    this.limit = BigInt(Math.round(timeoutMs * 1e6));
  }
  // Undefined for a clock that there is none of. Some engines round: no two readings of monotonic time are the same.
  now(id) {
    if (id === REALTIME) return BigInt(Date.now()) * 1_000_000n + this.#skipped;
    if (id !== MONOTONIC) return undefined;
    const now = BigInt(Math.round(performance.now() * 1e6)) + this.#skipped;
    return (this.#last = now > this.#last ? now : this.#last + 1n);
  }
  wait(ns) {
    if (sleep(Number(ns) / 1e6)) return;
    this.#skipped += ns;
    if (this.#skipped > this.limit) throw new TimeLimitReached("the guest slept past its time limit");
  }
}

// The shim's functions for the guest, with corrections.
function imports(shim, args, clocks) {
  const memory = () => new DataView(shim.inst.exports.memory.buffer);

  return bounded(shim, {
    ...shim.wasiImport,
    ...descriptorCalls(shim.fds, memory),
    ...pathCalls(shim.fds, memory),
    poll_oneoff: pollCall(memory, {
      now: (id) => clocks.now(id),
      wait: (ns) => clocks.wait(ns),
      descriptor: (fd) => shim.fds[fd],
    }),

    // The shim counts UTF-16 units, but writes UTF-8 bytes.
    args_sizes_get(count, size) {
      const encoder = new TextEncoder();
      memory().setUint32(count, args.length, true);
      memory().setUint32(size, args.reduce((sum, arg) => sum + encoder.encode(arg).length + 1, 0), true);
      return ERRNO.SUCCESS;
    },

    clock_res_get(id, into) {
      if (!(id in RESOLUTION)) return ERRNO.BADF;
      memory().setBigUint64(into, RESOLUTION[id], true);
      return ERRNO.SUCCESS;
    },
    clock_time_get(id, precision, into) {
      const now = clocks.now(id);
      if (now === undefined) return ERRNO.BADF;
      memory().setBigUint64(into, now, true);
      return ERRNO.SUCCESS;
    },

    // Nobody is there to be sent a signal.
    proc_raise: () => ERRNO.NOTSUP,
  });
}

// The same functions, but with unsigned addresses, and a trap for addresses outside the guest's memory.
function bounded(shim, functions) {
  // Their arguments are a descriptor, the address of a list of buffers (address, length), and the number of buffers.
  const withBuffers = new Set(["fd_read", "fd_write", "fd_pread", "fd_pwrite"]);
  const outside = () => new OutOfBounds("memory access out of bounds");
  const checked = (name, call) => (...given) => {
    const args = given.map((each) => (typeof each === "number" ? each >>> 0 : each));
    try {
      if (withBuffers.has(name)) {
        const memory = new DataView(shim.inst.exports.memory.buffer);
        for (let at = args[1]; at < args[1] + 8 * args[2]; at += 8) {
          if (memory.getUint32(at, true) + memory.getUint32(at + 4, true) > memory.byteLength) {
            throw outside();
          }
        }
      }
      return call(...args);
    } catch (error) {
      if (error instanceof Refused) return error.errno;
      // Engines raise RangeError for an address beyond the buffer, but also for an exhausted stack.
      throw error instanceof RangeError && !/stack|recursion|alloc/i.test(error.message) ? outside() : error;
    }
  };
  return Object.fromEntries(Object.entries(functions).map(([name, call]) => [name, checked(name, call)]));
}

// Returns false if this thread is not allowed to wait.
function sleep(milliseconds) {
  try {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
    return true;
  } catch {
    return false;
  }
}

function endingOf(error) {
  const [name, message] = [error?.name ?? typeof error, String(error?.message ?? error)];
  if (error instanceof OutputLimitReached) {
    return { kind: "host_failed", status: null, detail: message };
  }
  if (error instanceof TimeLimitReached) {
    return { kind: "timed_out", status: null, detail: message };
  }
  // The messages of V8, JavaScriptCore and SpiderMonkey for too deep a recursion.
  if (/call stack size|too much recursion|stack overflow/i.test(message)) {
    return { kind: "trapped", status: null, detail: "stack overflow" };
  }
  if (error instanceof WebAssembly.RuntimeError || error instanceof OutOfBounds) {
    return { kind: "trapped", status: null, detail: message };
  }
  if (error instanceof WebAssembly.Exception) {
    return { kind: "trapped", status: null, detail: "uncaught exception" };
  }
  if (error instanceof RangeError && /memory|alloc/i.test(message)) {
    return { kind: "out_of_memory", status: null, detail: message };
  }
  return { kind: "host_failed", status: null, detail: `${name}: ${message}` };
}

// What came of the folders: [guest path, [path, what]] with the size of a file, the target of a link, or null for a
// folder; and the contents of all files, one after the other.
function left(folders) {
  const files = folders.map(([name, root]) => [name, [...flat(root)]]);
  const all = files.flatMap(([, entries]) => entries.map(([, what]) => what)).filter((what) => what instanceof Uint8Array);
  const contents = new Uint8Array(all.reduce((sum, each) => sum + each.length, 0));
  all.reduce((at, each) => (contents.set(each, at), at + each.length), 0);
  const described = ([path, what]) => [path, what instanceof Uint8Array ? what.length : what];
  return { files: files.map(([name, entries]) => [name, entries.map(described)]), contents };
}

// Runs the guest to its end. The caller keeps the time limit by stopping this thread. ``folders`` are as wire.mjs reads
// them. ``stdout``, ``stderr`` and ``contents`` are views of buffers that nothing else uses. What a guest that was
// stopped left in its folders is not told. ``grownBytes`` is by how much its memory grew.
export function run(module, { args, env, stdin, folders = [], timeoutMs, outputBytes }) {
  const budget = { total: outputBytes, left: outputBytes };
  const [stdout, stderr] = [new Output(budget), new Output(budget)];
  const phases = {};
  let ending;
  let roots = [];
  let grownBytes = 0;
  try {
    const argv = [ARGV0, ...args];
    // An object loses the order of names that look like numbers.
    const pairs = Array.isArray(env) ? env : Object.entries(env);
    const environ = pairs.map(([name, value]) => `${name}=${value}`);
    const clocks = new Clocks(timeoutMs);
    const tree = new Tree(outputBytes, () => clocks.now(REALTIME));
    roots = folders.map(([name, entries]) => [name, tree.grow(entries)]);
    const opened = roots.map(([name, root]) => new OpenFolder(root, name));
    const shim = new WASI(argv, environ, [new Input(stdin), stdout, stderr, ...opened], { debug: false });
    let began = performance.now();
    const phase = (name) => {
      const now = performance.now();
      phases[name] = Math.round((now - began) * 1e6);
      began = now;
    };
    const given = { wasi_snapshot_preview1: imports(shim, argv, clocks) };
    const instance = new WebAssembly.Instance(module, given);
    phase("instantiate");
    // A guest that passes nothing may have no memory.
    const bytes = () => instance.exports.memory?.buffer.byteLength ?? 0;
    const initialBytes = bytes();
    try {
      ending = { kind: "exited", status: shim.start(instance) >>> 0, detail: "" };
    } finally {
      phase("run");
      grownBytes = bytes() - initialBytes;
    }
  } catch (error) {
    ending = endingOf(error);
  }
  const ended = ending.kind === "exited" || ending.kind === "trapped";
  return { stdout: stdout.bytes(), stderr: stderr.bytes(), ending, phases, grownBytes, ...left(ended ? roots : []) };
}
