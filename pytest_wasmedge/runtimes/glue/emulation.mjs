// Netlify's own emulation of its edge functions, which serves the project in the current folder by a deno that it starts.

import { connect } from "node:net";
import process from "node:process";
import { pathToFileURL } from "node:url";

const KNOCK_MS = 5;
const LONGEST_TIMER_MS = 2 ** 31 - 1;
const DISPATCHER = Symbol.for("undici.globalDispatcher.1");
const ORIGIN = "http://localhost:80";

// Whoever reaches Netlify's server can have it load any module, and it would listen on all addresses of the machine. So
// it listens on a socket in our folder, where nobody else gets, and all that Netlify fetches is fetched from there.
async function fetchFrom(socket, isStarting) {
  // The first use of fetch makes the dispatcher.
  await fetch("data:,");
  const { constructor: Agent } = globalThis[DISPATCHER];
  const open = (options, done) => {
    const connection = connect({ path: socket });
    connection.once("connect", () => done(null, connection));
    // Netlify itself gives up after three seconds, which a busy machine may need.
    connection.once("error", (error) => (isStarting() ? setTimeout(open, KNOCK_MS, options, done) : done(error)));
  };
  globalThis[DISPATCHER] = new Agent({ headersTimeout: 0, bodyTimeout: 0, connect: open });
}

// Returns what answers requests, once it can: answer({method, headers, body}) -> Response. ``path`` is that of Netlify's
// package, ``variables`` are what the functions see. Calls ``onend`` with an error when deno has ended.
export async function emulate(path, socket, variables, onend) {
  const { EdgeFunctionsHandler } = await import(pathToFileURL(path));
  let netlify;
  await fetchFrom(socket, () => !netlify.initialized && netlify.denoServerProcess.ps?.exitCode === null);
  const { HOME, TMPDIR, LANG, NO_COLOR } = process.env;
  const own = { HOME, TMPDIR, LANG, NO_COLOR, DENO_DIR: "deno", DENO_NO_UPDATE_CHECK: "1" };
  netlify = new EdgeFunctionsHandler({
    configDeclarations: [],
    directories: ["netlify/edge-functions"],
    env: { ...own, ...variables, DENO_SERVE_ADDRESS: `unix:${socket}` },
    geolocation: {},
    logger: console,
    // The caller keeps the time limit: Netlify's does not stop what runs too long.
    requestTimeout: LONGEST_TIMER_MS,
    siteID: "",
    siteName: "artifact",
  });
  const { success } = await netlify.initialization;
  if (!success) throw new Error("deno could not be started");
  netlify.denoServerProcess.ps.then(() => onend(new Error("deno has ended")), onend);

  // Once: each time, Netlify has an isolate read the function's paths, which then stays for ever, with 8 MB.
  const matched = await netlify.match(new Request(ORIGIN));
  if (!matched) throw new Error("Netlify finds no function");
  return async ({ method, headers, body }) => {
    const marked = { ...headers, "x-nf-request-id": crypto.randomUUID() };
    return await matched.handle(new Request(ORIGIN, { method, headers: marked, body }), ORIGIN);
  };
}
