"""A project's own glue, served in place of ours: what is read, what is started, and what it cannot tell."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType

import pytest

from pytest_wasmedge.drivers import javascript
from pytest_wasmedge.errors import HostStartError, UnsupportedError
from pytest_wasmedge.model import Host, Invocation, Limits, Runtime, exited, host_failed, timed_out
from pytest_wasmedge.plugin import own_glue
from pytest_wasmedge.plugin.own_glue import GlueError, OwnGlue
from pytest_wasmedge.runtimes import builtin_runtimes, merge
from tests import wat
from tests.waiting import until_gone


def runtimes(project: Path) -> list[Runtime]:
    """Return what the project brings glue for, among our runtimes."""
    return own_glue.runtimes(project, builtin_runtimes())


ALL_BYTES = bytes(range(256))

# Each runs the artifact with the guest that we ship, as a project could write it.
RUN = """
const run = (module, stdin) => guest.run(module, { args: [], env: {}, stdin, timeoutMs: 1e4, outputBytes: 2 ** 26 });
let count = 0;
async function answer(request, module) {
  const number = String(++count);
  const { stdout, ending } = run(module, new Uint8Array(await request.arrayBuffer()));
  if (ending.kind !== "exited") return new Response(ending.detail, { status: 500 });
  return new Response(stdout, { headers: { "pytest-wasmedge-invocation": number } });
}
"""
GLUE = {
    "workerd": (
        "edge/config.capnp",
        {
            "edge/config.capnp": """
using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "main", worker = .worker)],
  # sockets = [(name = "old", address = "*:1")]
  sockets = [(name = "web", address = "*:80", http = (), service = "main")],
);
const worker :Workerd.Worker = (
  modules = [
    (name = "worker.js", esModule = embed "worker.js"),
    (name = "ruby.wasm", wasm = embed "wasm/ruby.wasm"),
    MODULES
  ],
  compatibilityDate = "2026-01-01",
);
""",
            "edge/worker.js": f"""
import * as guest from "./lib/guest.mjs";
import module from "ruby.wasm";
{RUN}
export default {{ fetch: (request) => answer(request, module) }};
""",
        },
    ),
    "cloudflare": (
        "edge/wrangler.jsonc",
        {
            "edge/wrangler.jsonc": """{
  // As people write it.
  "name": "mine", "main": "worker.js", "compatibility_date": "2026-01-01"
}
""",
            "edge/worker.js": f"""
import * as guest from "./lib/guest.mjs";
import module from "./wasm/ruby.wasm";
{RUN}
export default {{ fetch: (request) => answer(request, module) }};
""",
        },
    ),
    "deno": (
        "edge/server.ts",
        {
            "edge/server.ts": f"""
import * as guest from "./lib/guest.mjs";
const bytes: Uint8Array = await Deno.readFile(new URL("./wasm/ruby.wasm", import.meta.url));
const module = await WebAssembly.compile(bytes);
{RUN.replace("request, module)", "request: Request, module: WebAssembly.Module)")}
Deno.serve({{ hostname: "0.0.0.0", port: 80 }}, (request) => answer(request, module));
"""
        },
    ),
    "node": (
        "edge/server.mjs",
        {
            "edge/server.mjs": f"""
import {{ readFileSync }} from "node:fs";
import {{ createServer }} from "node:http";
import * as guest from "./lib/guest.mjs";
const module = new WebAssembly.Module(readFileSync(new URL("./wasm/ruby.wasm", import.meta.url)));
{RUN}
createServer(async (request, response) => {{
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const reply = await answer(new Request("http://x", {{ method: "POST", body: Buffer.concat(chunks) }}), module);
  response.writeHead(reply.status, Object.fromEntries(reply.headers));
  response.end(new Uint8Array(await reply.arrayBuffer()));
}}).listen(process.env.PORT, process.env.HOST);
"""
        },
    ),
    "bun": (
        "edge/server.js",
        {
            "edge/server.js": f"""
import * as guest from "./lib/guest.mjs";
const module = await WebAssembly.compile(await Bun.file(new URL("./wasm/ruby.wasm", import.meta.url)).bytes());
{RUN}
Bun.serve({{ port: process.env.PORT, hostname: process.env.HOST, fetch: (request) => answer(request, module) }});
"""
        },
    ),
}
on_each = pytest.mark.parametrize("name", GLUE)

Start = Callable[..., Host]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project's root folder."""
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


def bring(project: Path, name: str) -> None:
    """Put glue for this runtime into the project, and name it in its pyproject.toml."""
    entry, files = GLUE[name]
    library = project / "edge" / "lib"
    shutil.copytree(javascript.glue_folder(), library)
    names = [str(path.relative_to(project / "edge")) for path in library.rglob("*.*js")]
    modules = "".join(
        f'(name = "{each}", esModule = embed "{each}"),\n'
        for each in names
        if each not in ("lib/server.mjs",)
    )
    for path, text in files.items():
        (project / path).write_text(text.replace("MODULES", modules))
    key = "config" if name in ("workerd", "cloudflare") else "server"
    with (project / "pyproject.toml").open("a") as file:
        file.write(
            f'[tool.pytest-wasmedge.runtimes.{name}]\n{key} = "{entry}"\nartifact = "edge/wasm/ruby.wasm"\n'
        )


def only(project: Path) -> Runtime:
    """Return the one runtime that the project brings glue for."""
    [runtime] = runtimes(project)
    return runtime


@pytest.fixture
def start(project: Path, tmp_path: Path) -> Iterator[Start]:
    """Start the project's own glue for this runtime with this program; it is closed when the test ends."""
    with ExitStack() as hosts:

        def start(name: str, program: str, **limits: float) -> Host:
            bring(project, name)
            runtime = only(project)
            availability = runtime.probe()
            if not availability.available:
                pytest.fail(f"{name}: {availability.reason}; run `make setup`", pytrace=False)
            return hosts.enter_context(runtime.start(wat.artifact(tmp_path, program), Limits(**limits)))  # type: ignore[arg-type]

        yield start


def tree(folder: Path) -> dict[str, bytes]:
    """Return all files of a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- what is started -------------------------------------------------------------------------------------


@on_each
def test_streams(name: str, start: Start, project: Path) -> None:
    """The body of a POST is stdin, stdout is the answer, byte for byte; the project's own tree stays as it is."""
    host = start(name, wat.ECHO)
    before = tree(project)
    outcome = host.run(ALL_BYTES * 1024)

    assert (outcome.stdout, outcome.stderr, outcome.ending) == (ALL_BYTES * 1024, b"", exited(0))
    assert (outcome.invocation, outcome.runtime) == (1, name)
    assert outcome.artifact_sha256 == host.artifact.sha256
    assert host.run(b"").stdout == b""
    host.close()
    assert tree(project) == before
    assert "edge/wasm/ruby.wasm" not in before


@on_each
def test_what_it_cannot_tell(name: str, start: Start) -> None:
    """Status and stderr are unchecked; no arguments, environment or folders can be given; memory is not limited."""
    host = start(name, wat.reports("oops", 7))
    outcome = host.run()

    assert (outcome.stdout, outcome.stderr, outcome.ending) == (b"", b"", exited(0))
    assert host.runtime.unchecked == {"stderr", "ending"}
    assert host.runtime.capabilities == frozenset()
    for invocation, what in (
        (Invocation(args=("a",)), "arguments"),
        (Invocation(env=MappingProxyType({"A": "b"})), "an environment"),
        (Invocation(preopens=MappingProxyType({"/": Path()})), "folders"),
    ):
        with pytest.raises(UnsupportedError, match=f"{name} cannot give {what} to a guest"):
            host.invoke(invocation)


@on_each
def test_a_runaway_is_killed(name: str, start: Start) -> None:
    """A guest that does not end is stopped with its process at the time limit, and the next invocation works."""
    spins_if_asked = wat.command(
        """
        (if (call $read (i32.const 0) (i32.const 65536) (i32.const 1)) (then (loop $on (br $on))))
        (call $write (i32.const 1) (i32.const 1024) (i32.const 4))""",
        data="done",
    )
    host = start(name, spins_if_asked)
    [pid] = host.pids()

    assert host.run("x", timeout_s=0.5).ending == timed_out()
    assert host.run().stdout == b"done"
    assert host.pids() != (pid,)


@on_each
def test_a_killed_host_is_started_again(name: str, start: Start) -> None:
    """A process that somebody killed is replaced; a closed host leaves none."""
    host = start(name, wat.ECHO)
    [pid] = host.pids()
    os.kill(pid, signal.SIGKILL)
    until_gone([pid], [])

    # It may not quite be dead when it is asked first.
    assert [host.run("again") for _ in range(2)][1].stdout == b"again"
    [pid] = host.pids()
    host.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(HostStartError, match="this host is closed; start another one"):
        host.run()


@on_each
def test_a_failure_of_the_glue(name: str, start: Start) -> None:
    """An answer that is not 2xx is the host's failure, and shown; the next one is asked all the same."""
    host = start(name, wat.TRAP)

    for _ in range(2):
        ending = host.run().ending
        assert ending == host_failed()
        assert f"{name} answered HTTP 500" in ending.detail


def test_many_at_once(start: Start) -> None:
    """Several threads each get their own answer."""
    host = start("workerd", wat.ECHO)
    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(host.run, map(str, range(32))))

    assert [outcome.stdout_text for outcome in outcomes] == [str(number) for number in range(32)]


def test_output_limit(start: Start) -> None:
    """An answer that is longer than the limit is cut there and told."""
    outcome = start("deno", wat.ECHO, output_bytes=1000).run("x" * 1001)

    assert (outcome.stdout, outcome.ending) == (b"x" * 1000, host_failed())
    assert outcome.ending.detail == "output limit of 1000 bytes reached"


ENDLESS = """
export default {
  fetch: () => new Response(new ReadableStream({
    async pull(controller) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      controller.enqueue(new Uint8Array(1));
    },
  })),
};
"""


def test_an_answer_without_end(project: Path, tmp_path: Path) -> None:
    """An answer that keeps coming is given up at the time limit, however lively it is. It is also a default export."""
    (project / "server.js").write_text(ENDLESS)
    (project / "pyproject.toml").write_text('[tool.pytest-wasmedge.runtimes.deno]\nserver = "server.js"\n')

    with only(project).start(wat.artifact(tmp_path, wat.ECHO), Limits()) as host:
        assert host.run(timeout_s=0.3).ending == timed_out()


@pytest.mark.parametrize(
    ("name", "entry", "text", "said"),
    [
        ("workerd", "config = 'config.capnp'", "const nonsense", r"has 0 sockets that can be found \(none\)"),
        (
            "workerd",
            "config = 'config.capnp'",
            'sockets = [(name = "a", x = ()), (name = "b")]',
            r"has 2 sockets that can be found \(a, b\); give it one",
        ),
        ("workerd", "config = 'config.capnp'", 'sockets = [(name = "a")]', "before it listened"),
        ("deno", "server = 'server.ts'", "throw new Error('no luck')", "no luck"),
        ("node", "server = 'server.mjs'", "throw new Error('no luck')", "no luck"),
        ("bun", "server = 'server.js'", "throw new Error('no luck')", "no luck"),
        ("node", "server = 'server.mjs'\nargs = ['--no-such-option']", "1", "no-such-option"),
    ],
)
def test_glue_that_does_not_start(
    name: str, entry: str, text: str, said: str, project: Path, tmp_path: Path
) -> None:
    """Glue that ends before it listens is told with what it said."""
    (project / "pyproject.toml").write_text(f"[tool.pytest-wasmedge.runtimes.{name}]\n{entry}\n")
    (project / entry.split("'")[1]).write_text(text)

    with pytest.raises(HostStartError, match=said):
        only(project).start(wat.artifact(tmp_path, wat.ECHO), Limits())


# --- what is copied --------------------------------------------------------------------------------------


def test_the_copy(project: Path, tmp_path: Path) -> None:
    """Files are copied, packages linked, caches left out; the artifact stands where the glue expects it, old or new."""
    for path in (
        "a/b/x.js",
        "a/node_modules/p/i.js",
        "a/.git/y",
        "a/.wrangler/z",
        "a/wasm/ruby.wasm",
        "other",
    ):
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        (project / path).write_text(path)
    (project / "a" / "loop").symlink_to(project / "a")
    (project / "a" / "gone").symlink_to(project / "nowhere")
    (project / "a" / "link.js").symlink_to("b/x.js")
    (project / "pyproject.toml").write_text(
        "[tool.pytest-wasmedge.runtimes.node]\nserver = 'a/b/x.js'\nartifact = 'a/wasm/ruby.wasm'\n"
    )
    program = wat.artifact(tmp_path, wat.ECHO)
    [runtime] = runtimes(project)
    assert isinstance(runtime, OwnGlue)
    glue = runtime.glue
    place = tmp_path / "copy"
    own_glue.lay_out(glue, place, program.path)

    assert (str(glue.entry), str(glue.artifact)) == ("b/x.js", "wasm/ruby.wasm")
    assert {path.name for path in place.iterdir()} == {"b", "node_modules", "wasm", "loop", "link.js"}
    assert (place / "wasm" / "ruby.wasm").read_bytes() == program.path.read_bytes()
    assert not (place / "link.js").is_symlink()
    assert (place / "node_modules").is_symlink()
    assert (project / "a" / "wasm" / "ruby.wasm").read_text() == "a/wasm/ruby.wasm"


def test_a_folder_that_is_too_large(project: Path, tmp_path: Path) -> None:
    """A folder that is no glue alone is not copied at each start, but named."""
    with (project / "model.bin").open("wb") as file:
        file.truncate(300 << 20)
    (project / "server.mjs").write_text("")
    (project / "pyproject.toml").write_text("[tool.pytest-wasmedge.runtimes.node]\nserver = 'server.mjs'\n")

    with pytest.raises(
        HostStartError, match=r"holds more than 5,000 files or 256 MiB.*into a folder of their own"
    ):
        only(project).start(wat.artifact(tmp_path, wat.ECHO), Limits())


# --- what is read ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [None, "", "[tool.other]\n", "[tool.pytest-wasmedge]\n", "tool = 1\n"])
def test_nothing_is_brought(text: str | None, project: Path) -> None:
    """A project without a table of ours, or without any pyproject.toml, brings nothing."""
    if text is not None:
        (project / "pyproject.toml").write_text(text)

    assert runtimes(project) == []


def test_it_replaces_ours(project: Path) -> None:
    """The runtime has the name of the one whose glue it replaces, and says whose glue it serves."""
    bring(project, "deno")
    known = merge(builtin_runtimes(), runtimes(project))

    assert known["deno"].unchecked == {"stderr", "ending"}
    assert known["node"].unchecked == frozenset()
    assert known["deno"].probe().path.endswith(f"serving {project}/edge/server.ts")


def test_flags_for_the_program(pytester: pytest.Pytester) -> None:
    """Flags of a runtime go where its program takes them, and the closing lines name them."""
    wat.write(pytester.path / "echo.wasm", wat.ECHO)
    pytester.makepyprojecttoml(
        """
        [tool.pytest-wasmedge.runtimes.wasmtime-cli]
        flags = ["-W", "trap-on-grow-failure=y"]
        [tool.pytest-wasmedge.runtimes.node]
        flags = ["--stack-size=500"]
        [tool.pytest-wasmedge.runtimes.wasmedge]
        flags = ["--nonsense"]
        """
    )
    pytester.makepyfile("def test_it(host):\n    assert host.run(b'x').stdout == b'x'\n")
    result = pytester.runpytest_subprocess(
        "--runtimes=wasmtime-cli,node,wasmedge", "--wasm-artifact=echo.wasm"
    )

    # The last one does not know its flag.
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines_random(
        ["wasmtime-cli: started with -W trap-on-grow-failure=y", "node: started with --stack-size=500"]
    )


def test_a_runtime_that_is_no_program_takes_no_flags(tmp_path: Path) -> None:
    """The one in this process has no command line."""
    (tmp_path / "pyproject.toml").write_text('[tool.pytest-wasmedge.runtimes.wasmtime]\nflags = ["-x"]\n')
    with pytest.raises(GlueError, match="has the unknown key wasmtime"):
        own_glue.runtimes(tmp_path, builtin_runtimes())


HEAD = "[tool.pytest-wasmedge.runtimes.deno]\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[tool", "pyproject.toml cannot be read: "),
        ("[tool.pytest-wasmedge.runtime.deno]\n", "has the unknown key runtime. Did you mean runtimes?"),
        ("[tool.pytest-wasmedge]\nruntimes = 1\n", "tool.pytest-wasmedge.runtimes is 1; write it as a table"),
        (
            "[tool.pytest-wasmedge.runtimes.denno]\n",
            "has the unknown key denno. Did you mean deno? Known: bun, bun-wasi, chromium, cloudflare, deno, ",
        ),
        (
            "[tool.pytest-wasmedge.runtimes]\ndeno = 'x'\n",
            "runtimes.deno is 'x'; write it as a table, [tool.",
        ),
        (HEAD, "[tool.pytest-wasmedge.runtimes.deno] lacks server: the path of the file"),
        (
            f"{HEAD}sever = 'x'\n",
            "has the unknown key sever. Did you mean server? Known: server, artifact, args, flags.",
        ),
        (f"{HEAD}config = 'x'\n", "has the unknown key config."),
        (f"{HEAD}server = 1\n", "runtimes.deno.server is 1; give a path, as a string."),
        (f"{HEAD}server = ''\n", "runtimes.deno.server is ''; give a path"),
        (f"{HEAD}server = 'gone.ts'\n", "runtimes.deno.server names gone.ts, which is not a file."),
        (f"{HEAD}server = 'edge'\n", "runtimes.deno.server names edge, which is not a file."),
        (
            f"{HEAD}server = '../s.ts'\n",
            "runtimes.deno.server is '../s.ts'; give a path inside the project.",
        ),
        (f"{HEAD}server = '/etc/hostname'\n", "'/etc/hostname'; give a path inside the project."),
        (f"{HEAD}server = '.'\n", "'.'; give a path inside the project."),
        (
            f"{HEAD}server = 's.ts'\nflags = ['-x']\n",
            "[tool.pytest-wasmedge.runtimes.deno] has flags beside glue of your own: give them as args.",
        ),
        (f"{HEAD}flags = 'x'\n", "runtimes.deno.flags is 'x'; give a list of strings"),
        (
            f"{HEAD}server = 's.ts'\nartifact = 's.ts'\n",
            "runtimes.deno.artifact names s.ts, where no artifact can be",
        ),
        (
            f"{HEAD}server = 's.ts'\nartifact = 'edge'\n",
            "runtimes.deno.artifact names edge, where no artifact can be",
        ),
        (
            f"{HEAD}server = 's.ts'\nartifact = []\n",
            "runtimes.deno.artifact is []; give a path, as a string.",
        ),
        (f"{HEAD}server = 's.ts'\nargs = '-A'\n", "runtimes.deno.args is '-A'; give a list of strings"),
        (f"{HEAD}server = 's.ts'\nargs = [1]\n", "runtimes.deno.args is [1]; give a list of strings"),
    ],
)
def test_what_is_not_understood(text: str, said: str, project: Path) -> None:
    """Each mistake is one message with the file and the key."""
    (project / "edge").mkdir()
    (project / "s.ts").write_text("")
    (project / "pyproject.toml").write_text(text)

    with pytest.raises(GlueError) as error:
        runtimes(project)
    assert said in str(error.value)
    assert str(project / "pyproject.toml") in str(error.value)
    assert "\n" not in str(error.value).strip() or "cannot be read" in said
