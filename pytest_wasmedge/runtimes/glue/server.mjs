// The host in Node, Deno and Bun: an HTTP server on loopback that runs each invocation in a fresh worker.
//
// Reads one line {secret, artifact, output_bytes, max_workers} on stdin, prints one line {port, phases_ns} on stdout,
// and exits when stdin closes, so it cannot outlive the process that started it.

import { readFileSync } from "node:fs";
import process from "node:process";
import { stopwatch } from "./phases.mjs";
import { firstLine } from "./stdin.mjs";
import { SECRET_HEADER, frameResult, parseInvocation, responseHeaders, sameSecret } from "./wire.mjs";
import { WORKER, bootWebWorker, failed, runIn, startWorker } from "./workers.mjs";

const HOST = typeof Deno !== "undefined" ? "deno" : typeof Bun !== "undefined" ? "bun" : "node";
const MOST_BODY_BYTES = 2 ** 31;
const NodeWorker = HOST === "node" ? (await import("node:worker_threads")).Worker : null;

// --- workers ---------------------------------------------------------------------------------------------

// Workers get no environment and no permissions, except in Bun, which has none to take away.
function boot(onmessage, onfailure) {
  if (HOST !== "node") {
    const nothing = HOST === "deno" ? { type: "module", deno: { permissions: "none" } } : { env: {} };
    return bootWebWorker(nothing, onmessage, onfailure);
  }
  const worker = new NodeWorker(WORKER, { env: {} });
  worker.on("message", onmessage);
  worker.on("error", onfailure);
  worker.on("exit", (status) => onfailure(new Error(`the worker ended with status ${status}`)));
  return worker;
}

// At most ``maxWorkers`` guests run at once, the others wait in line. One more worker is kept booted.
class Workers {
  #spare = null;
  #running = 0;
  #line = [];

  constructor(module, outputBytes, maxWorkers) {
    Object.assign(this, { module, outputBytes, maxWorkers });
    this.#spare = startWorker(boot);
  }

  async run(invocation) {
    if (this.#running >= this.maxWorkers) {
      await new Promise((resolve) => this.#line.push(resolve));
    } else {
      this.#running++;
    }
    const worker = this.#spare;
    // The next worker boots while this guest runs.
    this.#spare = startWorker(boot);
    try {
      return await runIn(worker, this.module, { ...invocation, outputBytes: this.outputBytes });
    } catch (error) {
      const memory = error?.code === "ERR_WORKER_OUT_OF_MEMORY";
      return failed(memory ? "out_of_memory" : "host_failed", `${error?.name}: ${error?.message}`);
    } finally {
      worker.terminate();
      // The place goes to the next in line, if there is one.
      const next = this.#line.shift();
      next ? next() : this.#running--;
    }
  }
}

// --- HTTP ------------------------------------------------------------------------------------------------

// Each takes answer(secret, readBody) -> {status, headers, body} and returns the port that it listens on.
const listen = {
  async node(answer) {
    const { createServer } = await import("node:http");
    const server = createServer(async (request, response) => {
      const { status, headers, body } = await answer(request.headers[SECRET_HEADER], async () => {
        const chunks = [];
        if (!saysItsLength(request.headers["content-length"])) throw new RangeError("a body of unknown length");
        for await (const chunk of request) chunks.push(chunk);
        // Not Buffer.concat: its small results share memory, which cannot be transferred to a worker.
        const bytes = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
        chunks.reduce((at, chunk) => (bytes.set(chunk, at), at + chunk.length), 0);
        return bytes;
      });
      // What a stranger goes on to send is not read.
      const close = status === 200 ? {} : { connection: "close" };
      response.writeHead(status, { ...headers, ...close, "content-length": body.length });
      response.end(body);
    });
    // Only the client closes a connection; otherwise a request could be sent to one that is closing.
    server.keepAliveTimeout = server.requestTimeout = server.headersTimeout = 0;
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    return server.address().port;
  },

  deno(answer) {
    return new Promise((resolve) => {
      const onListen = ({ port }) => resolve(port);
      Deno.serve({ hostname: "127.0.0.1", port: 0, onListen }, (request) => webResponse(request, answer));
    });
  },

  bun(answer) {
    const fetch = (request) => webResponse(request, answer);
    const options = { hostname: "127.0.0.1", port: 0, idleTimeout: 0, maxRequestBodySize: MOST_BODY_BYTES };
    return Bun.serve({ ...options, development: false, fetch }).port;
  },
};

// Our requests tell how long they are. Another one's body would be read without end.
function saysItsLength(length) {
  return length !== undefined && length !== null && Number(length) <= MOST_BODY_BYTES;
}

async function webResponse(request, answer) {
  const known = request.method !== "POST" || saysItsLength(request.headers.get("content-length"));
  const secret = known ? request.headers.get(SECRET_HEADER) : null;
  const readBody = async () => new Uint8Array(await request.arrayBuffer());
  const { status, headers, body } = await answer(secret, readBody);
  return new Response(body, { status, headers });
}

// --- the whole -------------------------------------------------------------------------------------------

async function main() {
  const settings = JSON.parse(await firstLine());
  const { phases_ns, phase } = stopwatch();
  const bytes = readFileSync(settings.artifact);
  phase("load");
  const module = await WebAssembly.compile(bytes);
  phase("compile");

  const workers = new Workers(module, settings.output_bytes, settings.max_workers);
  let invocations = 0;
  const port = await listen[HOST](async (secret, readBody) => {
    if (!sameSecret(secret, settings.secret)) {
      return { status: 404, headers: {}, body: new Uint8Array() };
    }
    let invocation;
    try {
      invocation = parseInvocation(await readBody());
    } catch {
      return { status: 400, headers: {}, body: new Uint8Array() };
    }
    const number = ++invocations;
    const result = await workers.run(invocation);
    return { status: 200, headers: responseHeaders(number), body: frameResult(result, number) };
  });
  process.stdout.write(`${JSON.stringify({ port, phases_ns })}\n`);
}

main().catch((error) => {
  console.error(`${error?.name}: ${error?.message}`);
  process.exit(1);
});
