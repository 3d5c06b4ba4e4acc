// The host under Cloudflare's wrangler: its own API starts the worker as `wrangler dev` does.
//
// With `versions` and a configuration of nothing behind the path of wrangler it tells them and ends. Otherwise it reads
// one line {secret, output_bytes, memory_pages} on stdin, prints one line {port} on stdout, and exits when stdin closes.

import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import process from "node:process";
import { firstLine } from "./stdin.mjs";

const [path, asked, nothing] = process.argv.slice(2);
// The program lies in wrangler/bin, what can be imported beside that.
const require = createRequire(path);

function fail(error) {
  // What wrangler reports is a wrapper of what went wrong.
  const { name, message } = error?.cause ?? error;
  console.error(`${name}: ${message}`);
  process.exit(1);
}

async function main() {
  const settings = JSON.parse(await firstLine());
  // For the engine, which wrangler gives no other way to say this.
  process.env.MINIFLARE_WORKERD_V8_FLAGS = `--wasm-max-mem-pages=${settings.memory_pages}`;
  const { unstable_DevEnv: DevEnv } = require("..");
  const wrangler = new DevEnv();
  // By itself it would wait for somebody to correct the worker.
  wrangler.on("error", fail);
  wrangler.on("buildFailed", fail);
  const worker = await wrangler.startWorker({
    config: "wrangler.json",
    // Not in the file, so that nobody reads the secret there; wrangler shows and logs every value that is none.
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
  // It listens before there is a worker; this one is there when it sends the stranger away.
  await worker.fetch(await worker.url);
  process.stdout.write(`${JSON.stringify({ port: Number(port) })}\n`);
}

if (asked === "versions") {
  const { version } = require("../package.json");
  // It finds no benchmark there, and says which V8 it has.
  const { stdout, stderr } = spawnSync(require("workerd").default, ["bench", nothing], { encoding: "utf8" });
  const [, engine_version = ""] = /^workerd .*, V8 (\d[\d.]*)/m.exec(`${stdout}\n${stderr}`) ?? [];
  process.stdout.write(`${JSON.stringify({ version, engine_version })}\n`);
} else {
  main().catch(fail);
}
