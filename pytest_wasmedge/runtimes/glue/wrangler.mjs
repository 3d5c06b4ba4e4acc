// The host under Cloudflare's wrangler: its own API starts the worker as `wrangler dev` does.
//
// The arguments are the path of wrangler, and `versions` with an empty configuration to print those. Otherwise it reads
// one line {secret, output_bytes, memory_pages} on stdin, prints one line {port} on stdout, and exits when stdin closes.

import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import process from "node:process";
import { firstLine } from "./stdin.mjs";

const [path, mode, nothing] = process.argv.slice(2);
// The program is in wrangler/bin, the modules to import are one folder above.
const require = createRequire(path);

function fail(error) {
  // wrangler wraps the error that explains the failure.
  const { name, message } = error?.cause ?? error;
  console.error(`${name}: ${message}`);
  process.exit(1);
}

async function main() {
  const settings = JSON.parse(await firstLine());
  // wrangler has no other way to set options of the engine.
  process.env.MINIFLARE_WORKERD_V8_FLAGS = `--wasm-max-mem-pages=${settings.memory_pages}`;
  const { unstable_DevEnv: DevEnv } = require("..");
  const wrangler = new DevEnv();
  // Otherwise wrangler waits until somebody corrects the worker.
  wrangler.on("error", fail);
  wrangler.on("buildFailed", fail);
  const worker = await wrangler.startWorker({
    config: "wrangler.json",
    // Not in the file, where others could read the secret. wrangler shows and logs all values of other types.
    bindings: {
      SECRET: { type: "secret_text", value: settings.secret },
      OUTPUT_BYTES: { type: "json", value: settings.output_bytes },
    },
    dev: {
      remote: false,
      server: { hostname: "127.0.0.1", port: 0, secure: false },
      inspector: false,
      persist: false,
      watch: false,
      liveReload: false,
      logLevel: "warn",
    },
    sendMetrics: false,
  });
  const { port } = await worker.url;
  // wrangler listens before the worker runs. The worker runs once it has refused this request.
  await worker.fetch(await worker.url);
  process.stdout.write(`${JSON.stringify({ port: Number(port) })}\n`);
}

if (mode === "versions") {
  const { version } = require("../package.json");
  // workerd finds no benchmark in it, and prints which V8 it has.
  const { stdout, stderr } = spawnSync(require("workerd").default, ["bench", nothing], { encoding: "utf8" });
  const [, engine_version = ""] = /^workerd .*, V8 (\d[\d.]*)/m.exec(`${stdout}\n${stderr}`) ?? [];
  process.stdout.write(`${JSON.stringify({ version, engine_version })}\n`);
} else {
  main().catch(fail);
}
