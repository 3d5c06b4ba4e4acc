// Makes of an artifact what jco makes of it: a component by the adapter that it brings along, and of that JavaScript.
//
// Arguments: the paths of jco's browser.js and of the artifact, and of the file to write. That begins with a line of
// JSON, [[name, size], …]; after it come these files.

import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import process from "node:process";
import { pathToFileURL } from "node:url";

const [jco, artifact, into] = process.argv.slice(2);
const { generate } = await import(pathToFileURL(jco));
const packages = createRequire(jco);
const tools = await import(pathToFileURL(packages.resolve("@bytecodealliance/jco-transpile/wasm-tools")));

const adapter = readFileSync(new URL("../lib/wasi_snapshot_preview1.command.wasm", pathToFileURL(jco)));
try {
  const component = await tools.componentNew(readFileSync(artifact), [["wasi_snapshot_preview1", adapter]]);
  // What jco's own command does by default, but for `instantiation`, so that the guest gets the WASI that we give it, and
  // for exceptions.
  const options = {
    name: "guest",
    instantiation: { tag: "sync" },
    bindgenEnableWasmExnref: true,
    noTypescript: true,
    noComponentErrorWrapping: true,
  };
  const { files } = await generate(component, options);
  const head = JSON.stringify(files.map(([name, content]) => [name, content.length]));
  writeFileSync(into, Buffer.concat([Buffer.from(`${head}\n`), ...files.map(([, content]) => content)]));
} catch (error) {
  process.stderr.write(String(error?.payload ?? error?.message ?? error));
  process.exit(1);
}
