// The worker for Cloudflare, or for your own workerd.

import module from "./artifact.wasm";
import { SHA256 } from "./artifact.mjs";
import { answer } from "./edge.mjs";

export default {
  fetch(request, { PYTEST_WASMEDGE_SECRET: secret }) {
    return answer(request, { module, sha256: SHA256, secret });
  },
};
