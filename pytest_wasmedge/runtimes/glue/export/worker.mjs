// The worker, for Cloudflare and for a workerd of your own.

import module from "./artifact.wasm";
import { SHA256 } from "./artifact.mjs";
import { answer } from "./edge.mjs";

export default {
  fetch(request, { PYTEST_WASMEDGE_SECRET: secret }) {
    return answer(request, { module, sha256: SHA256, secret });
  },
};
