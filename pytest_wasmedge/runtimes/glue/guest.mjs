// Runs one WASI preview 1 command and returns how it ended. The only file that imports the WASI shim.

import { Fd, WASI, wasi } from "./shim/index.js";

// The same in every host: model.ARGV0.
const ARGV0 = "artifact.wasm";

class OutputLimitReached extends Error {}
class TimeLimitReached extends Error {}
// The guest passed an address outside its memory to a function of WASI: a trap, as if it had read there itself.
class OutOfBounds extends Error {}

// A standard stream that is a pipe: it has no position, and its file type is unknown, since guests colour their
// messages for a terminal.
class Pipe extends Fd {
  fd_fdstat_get() {
    const fdstat = new wasi.Fdstat(wasi.FILETYPE_UNKNOWN, 0);
    fdstat.fs_rights_base = BigInt(this.rights);
    return { ret: wasi.ERRNO_SUCCESS, fdstat };
  }
  fd_filestat_get() {
    return { ret: wasi.ERRNO_SUCCESS, filestat: new wasi.Filestat(0n, wasi.FILETYPE_UNKNOWN, 0n) };
  }
  fd_read() {
    return { ret: wasi.ERRNO_BADF, data: new Uint8Array() };
  }
  fd_write() {
    return { ret: wasi.ERRNO_BADF, nwritten: 0 };
  }
  fd_pread() {
    return { ret: wasi.ERRNO_SPIPE, data: new Uint8Array() };
  }
  fd_pwrite() {
    return { ret: wasi.ERRNO_SPIPE, nwritten: 0 };
  }
  fd_seek() {
    return { ret: wasi.ERRNO_SPIPE, offset: 0n };
  }
  fd_tell() {
    return { ret: wasi.ERRNO_SPIPE, offset: 0n };
  }
}

class Input extends Pipe {
  rights = wasi.RIGHTS_FD_READ;

  constructor(bytes) {
    super();
    this.rest = bytes;
  }
  fd_read(size) {
    const data = this.rest.subarray(0, size);
    this.rest = this.rest.subarray(data.length);
    return { ret: wasi.ERRNO_SUCCESS, data };
  }
}

// The buffer grows by doubling, since a guest may write millions of small pieces.
class Output extends Pipe {
  rights = wasi.RIGHTS_FD_WRITE;
  buffer = new Uint8Array(4096);
  length = 0;

  constructor(budget) {
    super();
    this.budget = budget;
  }
  fd_write(data) {
    if (data.length > this.budget.left) {
      throw new OutputLimitReached(`output limit of ${this.budget.total} bytes reached`);
    }
    this.budget.left -= data.length;
    const length = this.length + data.length;
    if (length > this.buffer.length) {
      const larger = new Uint8Array(Math.max(length, 2 * this.buffer.length));
      larger.set(this.buffer.subarray(0, this.length));
      this.buffer = larger;
    }
    // A copy, since the guest will overwrite its memory.
    this.buffer.set(data, this.length);
    this.length = length;
    return { ret: wasi.ERRNO_SUCCESS, nwritten: data.length };
  }
  bytes() {
    return this.buffer.subarray(0, this.length);
  }
}

// The shim's functions for the guest, with corrections.
function imports(shim, args, timeoutMs) {
  const given = shim.wasiImport;
  const memory = () => new DataView(shim.inst.exports.memory.buffer);

  // For the guest, time that we skip instead of sleeping has passed.
  let skippedNs = 0n;
  const clocks = {
    [wasi.CLOCKID_REALTIME]: () => BigInt(Date.now()) * 1_000_000n + skippedNs,
    [wasi.CLOCKID_MONOTONIC]: () => BigInt(Math.round(performance.now() * 1e6)) + skippedNs,
  };

  return bounded(shim, {
    ...given,

    // The shim counts UTF-16 units, but writes UTF-8 bytes.
    args_sizes_get(count, size) {
      const encoder = new TextEncoder();
      memory().setUint32(count, args.length, true);
      memory().setUint32(size, args.reduce((sum, arg) => sum + encoder.encode(arg).length + 1, 0), true);
      return wasi.ERRNO_SUCCESS;
    },

    clock_time_get(id, precision, time) {
      if (!(id in clocks)) {
        return given.clock_time_get(id, precision, time);
      }
      memory().setBigUint64(time, clocks[id](), true);
      return wasi.ERRNO_SUCCESS;
    },

    // The shim sleeps in a busy loop, which never ends where the clock does not move.
    poll_oneoff(subscriptions, events, count, happened) {
      const asked = count === 1 ? wasi.Subscription.read_bytes(memory(), subscriptions) : null;
      if (asked?.eventtype !== wasi.EVENTTYPE_CLOCK || !(asked.clockid in clocks)) {
        return given.poll_oneoff(subscriptions, events, count, happened);
      }
      const absolute = asked.flags & wasi.SUBCLOCKFLAGS_SUBSCRIPTION_CLOCK_ABSTIME;
      const waitNs = absolute ? asked.timeout - clocks[asked.clockid]() : asked.timeout;
      if (waitNs > 0n && !sleep(Number(waitNs) / 1e6)) {
        skippedNs += waitNs;
        if (skippedNs > timeoutMs * 1e6) {
          throw new TimeLimitReached("the guest slept past its time limit");
        }
      }
      new wasi.Event(asked.userdata, wasi.ERRNO_SUCCESS, asked.eventtype).write_bytes(memory(), events);
      memory().setUint32(happened, 1, true);
      return wasi.ERRNO_SUCCESS;
    },
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

// Runs the guest to its end. The caller keeps the time limit by stopping this thread.
// ``stdout`` and ``stderr`` are views of buffers that nothing else uses.
export function run(module, { args, env, stdin, timeoutMs, outputBytes }) {
  const budget = { total: outputBytes, left: outputBytes };
  const [stdout, stderr] = [new Output(budget), new Output(budget)];
  const phases = {};
  let ending;
  try {
    const argv = [ARGV0, ...args];
    const environ = env.map(([name, value]) => `${name}=${value}`);
    const shim = new WASI(argv, environ, [new Input(stdin), stdout, stderr], { debug: false });
    let began = performance.now();
    const phase = (name) => {
      const now = performance.now();
      phases[name] = Math.round((now - began) * 1e6);
      began = now;
    };
    const given = { wasi_snapshot_preview1: imports(shim, argv, timeoutMs) };
    const instance = new WebAssembly.Instance(module, given);
    phase("instantiate");
    try {
      ending = { kind: "exited", status: shim.start(instance) >>> 0, detail: "" };
    } finally {
      phase("run");
    }
  } catch (error) {
    ending = endingOf(error);
  }
  return { stdout: stdout.bytes(), stderr: stderr.bytes(), ending, phases };
}
