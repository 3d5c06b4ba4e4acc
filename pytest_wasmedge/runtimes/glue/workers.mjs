// Workers, in which guests run, for all hosts that can terminate a worker.

export const WORKER = new URL("./worker.mjs", import.meta.url);
const LONGEST_TIMER_MS = 2 ** 31 - 1;
// More may run at once, but no more wait for a guest.
const MOST_KEPT = 4;
// Engines may leave the memory of a guest that is gone for a long time, if its isolate goes on.
const MOST_GROWN_BYTES = 64 << 20;

const NOTHING = new Uint8Array();
const EMPTY = { stdout: NOTHING, stderr: NOTHING, phases: {}, files: [], contents: NOTHING };
export const failed = (kind, detail) => ({ ...EMPTY, ending: { kind, status: null, detail } });

// Runs each guest in a fresh instance, in a worker that may have served others before, as platforms do. A worker is kept
// only if its guest exited (not after a trap, a time limit or a failure) and took little memory. ``boot`` is as for
// startWorker.
export class Workers {
  #boot;
  #kept;

  constructor(boot) {
    this.#boot = boot;
    this.#kept = [startWorker(boot)];
  }

  // Returns the result, and how many guests the worker has served with this one.
  async run(module, job) {
    // The last one that was used is the next one: its isolate is the warmest.
    const worker = this.#kept.pop() ?? startWorker(this.#boot);
    if (worker.ended) return this.run(module, job);
    const invocation = ++worker.served;
    const result = await runIn(worker, module, job).catch(({ code, name, message }) =>
      failed(code === "ERR_WORKER_OUT_OF_MEMORY" ? "out_of_memory" : "host_failed", `${name}: ${message}`),
    );
    const sound = result.ending.kind === "exited" && result.grownBytes <= MOST_GROWN_BYTES;
    if (sound && this.#kept.length < MOST_KEPT) this.#kept.push(worker);
    else worker.terminate();
    return { result, invocation };
  }

  // The next guests start in fresh isolates.
  discard() {
    for (const worker of this.#kept.splice(0)) worker.terminate();
  }
}

// A worker of any kind. ``ready`` settles once it has booted; ``onresult`` and ``onfailure`` are called with what comes
// after that. ``boot`` makes the worker, and passes on its messages and failures.
function startWorker(boot) {
  const self = { onresult: null, onfailure: null, served: 0, ended: false };
  let worker;
  self.ready = new Promise((resolve, reject) => {
    const onmessage = (data) => (data === "ready" ? resolve() : self.onresult?.(data));
    const onfailure = (error) => ((self.ended = self.served > 0), reject(error), self.onfailure?.(error));
    worker = boot(onmessage, onfailure);
  });
  // If a worker fails before its first guest, the invocation that takes it reports that.
  self.ready.catch(() => {});
  self.post = (message, transfer) => worker.postMessage(message, transfer);
  self.terminate = () => worker.terminate();
  return self;
}

// A worker of the Web, which all hosts have but Node.
export function bootWebWorker(options, onmessage, onfailure) {
  const worker = new Worker(WORKER, options);
  worker.onmessage = ({ data }) => onmessage(data);
  worker.onmessageerror = () => onfailure(new Error("the worker's answer could not be read"));
  worker.onerror = (event) => {
    event.preventDefault?.();
    onfailure(event.error ?? new Error(event.message ?? "the worker could not be loaded"));
  };
  return worker;
}

// Runs one guest in the worker, up to its time limit.
async function runIn(worker, module, job) {
  await worker.ready;
  return await new Promise((resolve, reject) => {
    // The guest's time begins now, not while the worker boots.
    const limitMs = Math.min(job.timeoutMs, LONGEST_TIMER_MS);
    const timer = setTimeout(() => resolve(failed("timed_out", "the worker was terminated")), limitMs);
    worker.onresult = (result) => (clearTimeout(timer), resolve(result));
    worker.onfailure = (error) => (clearTimeout(timer), reject(error));
    worker.post({ module, job }, [job.stdin.buffer]);
  });
}
