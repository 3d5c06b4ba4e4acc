// The host in Vercel's edge-runtime: the worker and the guest run in its sandbox, this file in Node outside of it.
//
// The arguments are the path of edge-runtime, and `versions` to print those. Otherwise it reads one line {secret,
// artifact, output_bytes} on stdin, prints one line {port, phases_ns} on stdout, and exits when stdin closes.

import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import process from "node:process";
import vm from "node:vm";
import { stopwatch } from "./phases.mjs";
import { firstLine } from "./stdin.mjs";
import { SECRET_HEADER, sameSecret } from "./wire.mjs";

const MOST_BODY_BYTES = 2 ** 31;
const [path, mode] = process.argv.slice(2);
// The program is in edge-runtime/dist/cli, the modules to import are two folders above.
const require = createRequire(path);

// The sandbox runs scripts only, so people bundle their modules. Modules that are linked by hand do the same.
async function moduleIn(context, name, given) {
  const modules = new Map();
  const find = (specifier, from) => {
    if (specifier in given) return given[specifier];
    const identifier = new URL(specifier, from.identifier).href;
    if (!modules.has(identifier)) {
      const source = readFileSync(new URL(identifier), "utf8");
      modules.set(identifier, new vm.SourceTextModule(source, { context, identifier }));
    }
    return modules.get(identifier);
  };
  const module = find(name, { identifier: import.meta.url });
  await module.link(find);
  await module.evaluate();
  return module.namespace.default;
}

function valueIn(context, value) {
  return new vm.SyntheticModule(["default"], function () { this.setExport("default", value); }, { context });
}

async function main() {
  const settings = JSON.parse(await firstLine());
  const { EdgeRuntime, createHandler } = require("../..");
  const { phases_ns, phase } = stopwatch();
  const bytes = readFileSync(settings.artifact);
  phase("load");
  // As Vercel gives it to a function that imports `artifact.wasm?module`.
  const artifact = await WebAssembly.compile(bytes);
  phase("compile");

  const runtime = new EdgeRuntime();
  const given = { "./artifact.wasm": valueIn(runtime.context, artifact) };
  const worker = await moduleIn(runtime.context, "./workerd.mjs", given);
  const bindings = { SECRET: settings.secret, OUTPUT_BYTES: settings.output_bytes, CLOCK_RUNS: true };
  runtime.context.addEventListener("fetch", (event) => event.respondWith(worker.fetch(event.request, bindings)));

  const { handler } = createHandler({ runtime });
  const server = createServer((request, response) => {
    // The worker asks for the secret, too. But it is asked only once the whole body has been read.
    const { [SECRET_HEADER]: secret, "content-length": length } = request.headers;
    if (sameSecret(secret, settings.secret) && Number(length) <= MOST_BODY_BYTES) return handler(request, response);
    response.writeHead(404, { connection: "close", "content-length": 0 });
    response.end();
  });
  // Only the client closes a connection; otherwise a request could be sent to one that is closing.
  server.keepAliveTimeout = server.requestTimeout = server.headersTimeout = 0;
  server.listen(0, "127.0.0.1", () => {
    process.stdout.write(`${JSON.stringify({ port: server.address().port, phases_ns })}\n`);
  });
}

if (mode === "versions") {
  const { version } = require("../../package.json");
  process.stdout.write(`${JSON.stringify({ version, engine_version: process.versions.v8 })}\n`);
} else {
  main().catch((error) => {
    console.error(`${error?.name}: ${error?.message}`);
    process.exit(1);
  });
}
