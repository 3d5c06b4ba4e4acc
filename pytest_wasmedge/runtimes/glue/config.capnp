# What workerd serves. The words in braces are replaced when a host starts.
using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "main", worker = .worker),
    (name = "nowhere", network = (allow = [])),
  ],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")],
  v8Flags = ["--wasm-max-mem-pages=${memory_pages}"],
);

const worker :Workerd.Worker = (
  modules = [
${modules}
    (name = "artifact.wasm", wasm = embed "artifact.wasm"),
  ],
  bindings = [
    (name = "SECRET", text = ${secret}),
    (name = "OUTPUT_BYTES", json = "${output_bytes}"),
  ],
  compatibilityDate = "2026-01-01",
  globalOutbound = "nowhere",
);
