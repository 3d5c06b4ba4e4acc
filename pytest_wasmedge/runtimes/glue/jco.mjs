// One guest, as jco runs it on Node: the component that jco_transpile.mjs made, on jco's own shim of WASI 0.2.
//
// Arguments: the paths of jco's browser.js, of the transpiled component, and of a folder. In that is given.json,
// {"args": [], "env": {}}; we write `report` there, how the guest ended. One that exits has the status of the process.

import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import process from "node:process";
import { pathToFileURL } from "node:url";
import { endingOf } from "./endings.mjs";

const [jco, transpiled, folder] = process.argv.slice(2);
const tell = (ending) => writeFileSync(`${folder}/report`, JSON.stringify(ending));

// What the shim has not written when the process ends is lost.
for (const stream of [process.stdout, process.stderr]) stream._handle.setBlocking(true);

const packages = createRequire(jco);
const shim = (name) => import(pathToFileURL(packages.resolve(`@bytecodealliance/preview2-shim/${name}`)));
const [{ WASIShim }, cli] = await Promise.all([shim("instantiation"), shim("cli")]);
// By default the shim calls all streams terminals.
for (const stream of ["Stdin", "Stdout", "Stderr"]) cli[`_setTerminal${stream}`](undefined);
const sandbox = { ...JSON.parse(readFileSync(`${folder}/given.json`, "utf8")), preopens: {}, enableNetwork: false };
const given = new WASIShim({ sandbox }).getImportObject();
const { exit } = given["wasi:cli/exit"];
const exiting = (result) => {
  tell({ kind: "exited" });
  exit(result);
};

function unpack(bytes) {
  const end = bytes.indexOf(10);
  let at = end + 1;
  return Object.fromEntries(
    JSON.parse(bytes.toString("utf8", 0, end)).map(([name, size]) => [name, bytes.subarray(at, (at += size))]),
  );
}

try {
  const files = unpack(readFileSync(transpiled));
  const source = files["guest.js"].toString("base64");
  const { instantiate } = await import(`data:text/javascript;base64,${source}`);
  const module = (name) => new WebAssembly.Module(files[name]);
  const { run } = instantiate(module, { ...given, "wasi:cli/exit": { exit: exiting } });
  run.run();
  exiting({ tag: "ok" });
} catch (error) {
  tell(endingOf(error));
  process.exit(1);
}
