// The worker in workerd and in edge-runtime. In workerd the clock stops while a guest runs, so there are no phases.

import module from "./artifact.wasm";
import { run } from "./guest.mjs";
import { SECRET_HEADER, frameResult, parseInvocation, responseHeaders, sameSecret } from "./wire.mjs";

const MOST_BODY_BYTES = 2 ** 31;
let invocations = 0;

export default {
  async fetch(request, { SECRET, OUTPUT_BYTES, CLOCK_RUNS }) {
    if (!sameSecret(request.headers.get(SECRET_HEADER), SECRET)) {
      return new Response(null, { status: 404 });
    }
    if (Number(request.headers.get("content-length")) > MOST_BODY_BYTES) {
      return new Response(null, { status: 400 });
    }
    let invocation;
    try {
      invocation = parseInvocation(new Uint8Array(await request.arrayBuffer()));
    } catch {
      return new Response(null, { status: 400 });
    }
    const number = ++invocations;
    // The caller keeps the time limit, since nothing here can stop a guest.
    const result = run(module, { ...invocation, outputBytes: OUTPUT_BYTES });
    const timed = CLOCK_RUNS ? result : { ...result, phases: {} };
    return new Response(frameResult(timed, number), { headers: responseHeaders(number) });
  },
};
