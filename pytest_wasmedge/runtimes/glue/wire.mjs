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

// {"args":[],"env":[["NAME","value"]],"timeout_ms":N,"folders":[…]} + "\n", contents of files, stdin. "env" may be an
// object where its order does not count. A folder is [guest path, [path, what, modified]]: what is the size of a file,
// the target of a link, or null for a folder; modified is a time in nanoseconds, as text.
export function parseInvocation(body) {
  const end = body.indexOf(NEWLINE);
  const head = JSON.parse(new TextDecoder().decode(body.subarray(0, end)));
  let at = end + 1;
  const content = (what) => (typeof what === "number" ? body.subarray(at, (at += what)) : what);
  const folders = (head.folders ?? []).map(([name, entries]) => [
    name,
    entries.map(([path, what, modified]) => [path, content(what), modified]),
  ]);
  return { args: head.args, env: head.env, timeoutMs: head.timeout_ms, folders, stdin: body.subarray(at) };
}

// {"stdout_bytes":N,"stderr_bytes":M,"ending":{…},"invocation":K,"phases_ns":{…},"files":[…]} + "\n", stdout, stderr,
// contents of files. What came of a folder is [guest path, [path, what]], as above.
export function frameResult({ stdout, stderr, ending, phases, files, contents }, invocation) {
  const line = JSON.stringify({
    stdout_bytes: stdout.length,
    stderr_bytes: stderr.length,
    ending,
    invocation,
    phases_ns: phases,
    files,
  });
  const parts = [new TextEncoder().encode(`${line}\n`), stdout, stderr, contents];
  const body = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  parts.reduce((at, part) => (body.set(part, at), at + part.length), 0);
  return body;
}

export function responseHeaders(invocation) {
  return { "content-type": "application/octet-stream", "pytest-wasmedge-invocation": String(invocation) };
}
