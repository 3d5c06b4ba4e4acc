// The edge function for Netlify. It compiles the artifact once, for the first request.

import { bytes, SHA256 as sha256 } from "./artifact.mjs";
import { answer } from "./edge.mjs";

let compiling;

async function compiled() {
  return await WebAssembly.compile(await bytes());
}

export default async (request) => {
  const module = await (compiling ??= compiled());
  const secret = Netlify.env.get("PYTEST_WASMEDGE_SECRET");
  const outputBytes = Number(Netlify.env.get("PYTEST_WASMEDGE_OUTPUT_BYTES")) || undefined;
  return await answer(request, { module, sha256, secret, outputBytes });
};

export const config = { path: "/*" };
