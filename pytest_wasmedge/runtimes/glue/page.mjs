// The host in a browser: a page that receives invocations in one stream and runs each in a fresh worker.
//
// It is loaded from a secret path on loopback and answers there: POST jobs {phases_ns} opens the stream once
// the artifact is compiled, POST results/N carries an outcome, POST failed says why there will be no stream.

import { frameResult, parseInvocation } from "./wire.mjs";

const WORKER = new URL("./worker.mjs", import.meta.url);
const LONGEST_TIMER_MS = 2 ** 31 - 1;

// ``ready`` settles once the worker has booted; ``onresult`` and ``onfailure`` are called with what comes after.
function startWorker() {
  const self = { onresult: null, onfailure: null };
  const worker = new Worker(WORKER, { type: "module" });
  self.ready = new Promise((resolve, reject) => {
    const onfailure = (error) => (reject(error), self.onfailure?.(error));
    worker.onmessage = ({ data }) => (data === "ready" ? resolve() : self.onresult?.(data));
    worker.onmessageerror = () => onfailure(new Error("the worker's answer could not be read"));
    worker.onerror = (event) => {
      event.preventDefault();
      onfailure(new Error(event.message ?? "the worker could not be loaded"));
    };
  });
  // A spare that fails is reported by the invocation that takes it.
  self.ready.catch(() => {});
  self.post = (message, transfer) => worker.postMessage(message, transfer);
  self.terminate = () => worker.terminate();
  return self;
}

const EMPTY = { stdout: new Uint8Array(), stderr: new Uint8Array(), phases: {} };
const failed = (kind, detail) => ({ ...EMPTY, ending: { kind, status: null, detail } });

// One worker more than there are guests is kept booted; how many run at once is up to who sends them.
class Workers {
  #spare = startWorker();

  async run(module, job) {
    const worker = this.#spare;
    // The next one boots beside this guest.
    this.#spare = startWorker();
    try {
      await worker.ready;
      return await new Promise((resolve, reject) => {
        // A worker that boots late has not used up the guest's time.
        const limitMs = Math.min(job.timeoutMs, LONGEST_TIMER_MS);
        const timer = setTimeout(() => resolve(failed("timed_out", "the worker was terminated")), limitMs);
        worker.onresult = (result) => (clearTimeout(timer), resolve(result));
        worker.onfailure = (error) => (clearTimeout(timer), reject(error));
        worker.post({ module, job }, [job.stdin.buffer]);
      });
    } catch (error) {
      return failed("host_failed", `${error?.name}: ${error?.message}`);
    } finally {
      worker.terminate();
    }
  }
}

// Yields {number, body} for each frame: its number and the size of its body, four bytes each, then the body.
async function* frames(stream) {
  const reader = stream.getReader();
  let rest = new Uint8Array();
  // Null at the end of the stream.
  async function take(size) {
    const bytes = new Uint8Array(size);
    for (let at = 0; at < size; ) {
      if (rest.length === 0) {
        const { done, value } = await reader.read();
        if (done) return null;
        rest = value;
      }
      const part = rest.subarray(0, size - at);
      bytes.set(part, at);
      at += part.length;
      rest = rest.subarray(part.length);
    }
    return bytes;
  }
  for (let head; (head = await take(8)); ) {
    const view = new DataView(head.buffer);
    const body = await take(view.getUint32(4));
    if (body === null) return;
    yield { number: view.getUint32(0), body };
  }
}

const post = (to, body) => fetch(to, { method: "POST", body });

async function main() {
  const outputBytes = Number(document.documentElement.dataset.outputBytes);
  const workers = new Workers();
  const phases_ns = {};
  let began = performance.now();
  const phase = (name) => {
    const now = performance.now();
    phases_ns[name] = Math.round((now - began) * 1e6);
    began = now;
  };
  const response = await fetch("artifact.wasm");
  if (!response.ok) throw new Error(`the artifact was not served: HTTP ${response.status}`);
  const bytes = await response.arrayBuffer();
  phase("load");
  const module = await WebAssembly.compile(bytes);
  phase("compile");

  let invocations = 0;
  async function answer(number, body) {
    const invocation = ++invocations;
    const result = await workers.run(module, { ...parseInvocation(body), outputBytes });
    await post(`results/${number}`, frameResult(result, invocation));
  }
  const jobs = await post("jobs", JSON.stringify({ phases_ns }));
  for await (const { number, body } of frames(jobs.body)) {
    // Number 0 is sent now and then, so that nobody takes the stream for dead.
    if (number > 0) answer(number, body);
  }
}

main().catch((error) => post("failed", `${error?.name}: ${error?.message}`));
