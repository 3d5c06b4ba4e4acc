// Answers requests to a deployed worker. In the plain contract, the body of a POST is stdin, and the body of the answer
// is stdout. With the header `pytest-wasmedge-wire: 1`, request and answer have our framed format.

import { run } from "./guest.mjs";
import { frameResult, parseInvocation, responseHeaders, sameSecret } from "./wire.mjs";

const WIRE_HEADER = "pytest-wasmedge-wire";
const WIRE_VERSION = "1";
const ARTIFACT_HEADER = "x-pytest-wasmedge-artifact";
const ENDING_HEADER = "pytest-wasmedge-ending";

// The plain contract has no place for these. Only the platform's own limit stops a guest that computes.
const TIMEOUT_MS = 30_000;
const OUTPUT_BYTES = 64 * 2 ** 20;

let invocations = 0;

function say(status, text, headers) {
  return new Response(`${text}\n`, { status, headers: { "content-type": "text/plain", ...headers } });
}

// Status and header say how the guest ended; the body has no place for that.
function plainResponse({ stdout, ending }, headers) {
  if (ending.kind === "exited") {
    return new Response(stdout, { headers: { ...headers, [ENDING_HEADER]: `exited(${ending.status})` } });
  }
  return say(500, `${ending.kind}: ${ending.detail}`, { ...headers, [ENDING_HEADER]: ending.kind });
}

// ``secret`` is null or undefined if there is none; nobody can use a worker whose secret is empty.
export async function answer(request, { module, sha256, secret, outputBytes = OUTPUT_BYTES }) {
  if (secret != null && !(secret && sameSecret(request.headers.get("authorization"), `Bearer ${secret}`))) {
    const challenge = { "www-authenticate": "Bearer" };
    return say(401, "this worker has a secret: send it as `Authorization: Bearer SECRET`", challenge);
  }
  const wire = request.headers.get(WIRE_HEADER);
  const framed = wire === WIRE_VERSION;
  const marks = { [ARTIFACT_HEADER]: sha256, ...(wire === null ? {} : { [WIRE_HEADER]: WIRE_VERSION }) };
  if (request.method !== "POST") {
    return say(405, "send a POST: its body is the program's stdin", { ...marks, allow: "POST" });
  }
  const body = new Uint8Array(await request.arrayBuffer());
  let invocation = { args: [], env: [], timeoutMs: TIMEOUT_MS, stdin: body };
  if (wire !== null) {
    try {
      if (!framed) throw new Error(`this worker speaks version ${WIRE_VERSION}`);
      invocation = parseInvocation(body);
    } catch (error) {
      return say(400, `no framed invocation: ${error.message}`, marks);
    }
  }
  const number = ++invocations;
  const result = run(module, { ...invocation, outputBytes });
  const headers = { ...responseHeaders(number), ...marks, "x-content-type-options": "nosniff" };
  return framed ? new Response(frameResult(result, number), { headers }) : plainResponse(result, headers);
}
