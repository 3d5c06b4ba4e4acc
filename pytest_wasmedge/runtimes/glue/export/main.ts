// The server for Deno Deploy, or for your own Deno. It reads and compiles the artifact once, when it starts.

import { answer } from "./edge.mjs";

const bytes = await Deno.readFile(new URL("./artifact.wasm", import.meta.url));
const module = await WebAssembly.compile(bytes);
const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
const sha256 = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
const secret = Deno.env.get("PYTEST_WASMEDGE_SECRET");

Deno.serve((request) => answer(request, { module, sha256, secret }));
