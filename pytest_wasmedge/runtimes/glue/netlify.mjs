// The host under Netlify's emulation of its edge functions: a server on loopback that passes invocations on to it.
//
// The arguments are the path of Netlify's package, and the socket that its deno listens on. It reads one line {secret,
// output_bytes} on stdin, prints one line {port} on stdout, and exits when stdin closes, and deno with it.

import { createServer } from "node:http";
import process from "node:process";
import { emulate } from "./emulation.mjs";
import { firstLine } from "./stdin.mjs";
import { SECRET_HEADER, sameSecret } from "./wire.mjs";

const MOST_BODY_BYTES = 2 ** 31;
const [path, socket] = process.argv.slice(2);

function fail(error) {
  console.error(`${error?.name}: ${error?.message}`);
  process.exit(1);
}

async function bodyOf(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks);
}

async function main() {
  const { secret, output_bytes } = JSON.parse(await firstLine());
  const answer = await emulate(path, socket, { PYTEST_WASMEDGE_OUTPUT_BYTES: String(output_bytes) }, fail);
  const server = createServer(async (request, response) => {
    const { [SECRET_HEADER]: given, "content-length": length } = request.headers;
    if (!sameSecret(given, secret) || !(Number(length) <= MOST_BODY_BYTES)) {
      response.writeHead(404, { connection: "close", "content-length": 0 });
      return response.end();
    }
    try {
      const headers = { "pytest-wasmedge-wire": "1" };
      const answered = await answer({ method: "POST", headers, body: await bodyOf(request) });
      const body = Buffer.from(await answered.arrayBuffer());
      response.writeHead(answered.status, { "content-length": body.length });
      response.end(body);
    } catch (error) {
      console.error(`${error?.name}: ${error?.message}`);
      response.destroy();
    }
  });
  // Only the client closes a connection; otherwise a request could be sent to one that is closing.
  server.keepAliveTimeout = server.requestTimeout = server.headersTimeout = 0;
  server.listen(0, "127.0.0.1", () => {
    process.stdout.write(`${JSON.stringify({ port: server.address().port })}\n`);
  });
}

process.on("unhandledRejection", fail);
main().catch(fail);
