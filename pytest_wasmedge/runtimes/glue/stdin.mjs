// The life of a host that can read its stdin hangs on that: a line to begin with, and its end when it closes.

import process from "node:process";

// The first line; from then on the process ends when nobody holds the other end any more.
export function firstLine() {
  return new Promise((resolve) => {
    let text = "";
    process.stdin.setEncoding("utf8");
    process.stdin.on("data", (chunk) => {
      text += chunk;
      if (text.includes("\n")) resolve(text.slice(0, text.indexOf("\n")));
    });
    process.stdin.on("end", () => process.exit(0));
    process.stdin.on("error", () => process.exit(0));
  });
}
