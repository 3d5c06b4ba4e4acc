// What an error says of how a guest ended, in hosts that run a guest under the WASI that they have themselves.

// As in guest.mjs, which we cannot import without the shim.
export function endingOf(error) {
  const [name, message] = [error?.name ?? typeof error, String(error?.message ?? error)];
  const ending = (kind, detail) => ({ kind, status: null, detail });
  if (/call stack size/i.test(message)) {
    return ending("trapped", "stack overflow");
  }
  if (error instanceof WebAssembly.RuntimeError) {
    return ending("trapped", message);
  }
  if (error instanceof WebAssembly.Exception) {
    return ending("trapped", "uncaught exception");
  }
  if (error instanceof RangeError && /memory|alloc/i.test(message)) {
    return ending("out_of_memory", message);
  }
  return ending("host_failed", `${name}: ${message}`);
}
