// Workers, one for each guest, for all hosts that can terminate a worker.

export const WORKER = new URL("./worker.mjs", import.meta.url);
const LONGEST_TIMER_MS = 2 ** 31 - 1;

const NOTHING = new Uint8Array();
const EMPTY = { stdout: NOTHING, stderr: NOTHING, phases: {}, files: [], contents: NOTHING };
export const failed = (kind, detail) => ({ ...EMPTY, ending: { kind, status: null, detail } });

// A worker of any kind. ``ready`` settles once it has booted; ``onresult`` and ``onfailure`` are called with what comes
// after that. ``boot`` makes the worker, and passes on its messages and failures.
export function startWorker(boot) {
  const self = { onresult: null, onfailure: null };
  let worker;
  self.ready = new Promise((resolve, reject) => {
    const onmessage = (data) => (data === "ready" ? resolve() : self.onresult?.(data));
    const onfailure = (error) => (reject(error), self.onfailure?.(error));
    worker = boot(onmessage, onfailure);
  });
  // If a spare worker fails, the invocation that takes it reports that.
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
export async function runIn(worker, module, job) {
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
