// The host in Node, Deno and Bun: an HTTP server on loopback that runs each invocation in a worker.
//
// Reads one line {secret, artifact, output_bytes, max_workers} on stdin, prints one line {port, phases_ns} on stdout,
// and exits when stdin closes, so it cannot outlive the process that started it. POST runs a guest; DELETE discards the
// workers, so that the next guests start in fresh isolates.

import { readFileSync } from "node:fs";
import process from "node:process";
import { stopwatch } from "./phases.mjs";
import { firstLine } from "./stdin.mjs";
import { SECRET_HEADER, frameResult, parseInvocation, responseHeaders, sameSecret } from "./wire.mjs";
import { WORKER, Workers, bootWebWorker } from "./workers.mjs";

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

// At most ``places`` run at once, the others wait in line.
function inLine(places) {
  let running = 0;
  const line = [];
  return async (task) => {
    if (running >= places) await new Promise((resolve) => line.push(resolve));
    else running++;
    try {
      return await task();
    } finally {
      // The place goes to the next in line, if there is one.
      const next = line.shift();
      next ? next() : running--;
    }
  };
}

// --- HTTP ------------------------------------------------------------------------------------------------

// Each takes answer(method, secret, readBody) -> {status, headers, body} and returns the port that it listens on.
const listen = {
  async node(answer) {
    const { createServer } = await import("node:http");
    const server = createServer(async (request, response) => {
      const { status, headers, body } = await answer(request.method, request.headers[SECRET_HEADER], async () => {
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
  const { status, headers, body } = await answer(request.method, secret, readBody);
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

  const workers = new Workers(boot);
  const place = inLine(settings.max_workers);
  const port = await listen[HOST](async (method, secret, readBody) => {
    const empty = (status) => ({ status, headers: {}, body: new Uint8Array() });
    if (!sameSecret(secret, settings.secret)) return empty(404);
    if (method === "DELETE") return workers.discard(), empty(200);
    let invocation;
    try {
      invocation = parseInvocation(await readBody());
    } catch {
      return empty(400);
    }
    const job = { ...invocation, outputBytes: settings.output_bytes };
    const { result, invocation: number } = await place(() => workers.run(module, job));
    return { status: 200, headers: responseHeaders(number), body: frameResult(result, number) };
  });
  process.stdout.write(`${JSON.stringify({ port, phases_ns })}\n`);
}

main().catch((error) => {
  console.error(`${error?.name}: ${error?.message}`);
  process.exit(1);
});
