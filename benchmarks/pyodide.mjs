// Runs the Python program on stdin in a fresh Pyodide. The argument is the path of pyodide.mjs.

import { readFileSync } from "node:fs";
import process from "node:process";
import { pathToFileURL } from "node:url";

const { loadPyodide } = await import(pathToFileURL(process.argv[2]));
const python = await loadPyodide();
try {
  python.runPython(readFileSync(0, "utf8"));
} catch (error) {
  // Node itself would print a line of minified code before it, of half a megabyte.
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
}
