# `workerd serve config.capnp` serves the artifact on this machine alone, port 8080; `--socket-addr=http=*:8080`
# opens it to the network. Set PYTEST_WASMEDGE_SECRET first.
using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "main", worker = .worker),
    (name = "nowhere", network = (allow = [])),
  ],
  sockets = [(name = "http", address = "127.0.0.1:8080", http = (), service = "main")],
  # The most memory of one guest: 1 GiB, in pages of 64 KiB.
  v8Flags = ["--wasm-max-mem-pages=16384"],
);

const worker :Workerd.Worker = (
  modules = [
${modules}
    (name = "artifact.wasm", wasm = embed "artifact.wasm"),
  ],
  bindings = [(name = "PYTEST_WASMEDGE_SECRET", fromEnvironment = "PYTEST_WASMEDGE_SECRET")],
  compatibilityDate = "2026-01-01",
  globalOutbound = "nowhere",
);
