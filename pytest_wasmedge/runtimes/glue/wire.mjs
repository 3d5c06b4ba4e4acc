// The format of requests and answers, the same in every host: one line of JSON, then bytes.

export const SECRET_HEADER = "pytest-wasmedge-secret";

const NEWLINE = 10;

// Compares every character, so that the time does not reveal how many are right.
export function sameSecret(given, secret) {
  let difference = (given ?? "").length ^ secret.length;
  for (let i = 0; i < secret.length; i++) {
    difference |= (given ?? "").charCodeAt(i) ^ secret.charCodeAt(i);
  }
  return difference === 0;
}

// {"args":[],"env":[["NAME","value"]],"timeout_ms":N} + "\n" + stdin; "env" may be an object where its order does not count.
export function parseInvocation(body) {
  const end = body.indexOf(NEWLINE);
  const { args, env, timeout_ms: timeoutMs } = JSON.parse(new TextDecoder().decode(body.subarray(0, end)));
  return { args, env: Array.isArray(env) ? env : Object.entries(env), timeoutMs, stdin: body.subarray(end + 1) };
}

// {"stdout_bytes":N,"stderr_bytes":M,"ending":{…},"invocation":K,"phases_ns":{…}} + "\n", stdout, stderr
export function frameResult({ stdout, stderr, ending, phases }, invocation) {
  const line = JSON.stringify({
    stdout_bytes: stdout.length,
    stderr_bytes: stderr.length,
    ending,
    invocation,
    phases_ns: phases,
  });
  const head = new TextEncoder().encode(`${line}\n`);
  const body = new Uint8Array(head.length + stdout.length + stderr.length);
  body.set(head);
  body.set(stdout, head.length);
  body.set(stderr, head.length + stdout.length);
  return body;
}

export function responseHeaders(invocation) {
  return { "content-type": "application/octet-stream", "pytest-wasmedge-invocation": String(invocation) };
}
