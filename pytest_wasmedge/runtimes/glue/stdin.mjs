// Reads the settings from stdin, and ends the process when stdin closes.

import process from "node:process";

// Returns the first line. From then on the process ends when the other end of stdin is closed.
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
