"""Folders that can be deployed: each is started with the command that it documents, and asked as a deployed edge."""

from __future__ import annotations

import base64
import json
import queue
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from pytest_wasmedge.commands import cli
from pytest_wasmedge.commands.export import MARKER, Exported, export, lines, targets
from pytest_wasmedge.drivers.edge import TOKEN_VARIABLE
from pytest_wasmedge.drivers.http import WIRE_HEADER, read_answer
from pytest_wasmedge.drivers.process import Announcement, Workspace, announcements, spawn, stop
from pytest_wasmedge.drivers.serving import ServingLaunch
from pytest_wasmedge.drivers.target import SECRET_VARIABLE
from pytest_wasmedge.model import Artifact, Limits, exited, host_failed, trapped
from pytest_wasmedge.provision import find
from pytest_wasmedge.runtimes.netlify import Netlify
from pytest_wasmedge.runtimes.remote import ARTIFACT_HEADER, DEFAULT_HEADER, Remote
from tests import wat
from tests.actor import ACTOR, act
from tests.function_url import function_url
from tests.netlify_url import netlify_url

ALL_BYTES = bytes(range(256))
ENDING_HEADER = "pytest-wasmedge-ending"
#: What makes a documented command listen on a port of the system's choice, and say which.
LISTENING: Mapping[str, tuple[Mapping[str, str], list[str], str]] = {
    "deno": ({"DENO_SERVE_ADDRESS": "tcp:127.0.0.1:0"}, [], r"Listening on http://127\.0\.0\.1:(\d+)"),
    "workerd": ({}, ["--socket-addr=http=127.0.0.1:0", "--control-fd=1"], r'"port":\s*(\d+)'),
    "cloudflare": (
        {"CI": "1", "CLOUDFLARE_CF_FETCH_ENABLED": "false", "WRANGLER_SEND_METRICS": "false"},
        ["--ip=127.0.0.1", "--port=0"],
        r"Ready on http://127\.0\.0\.1:(\d+)",
    ),
}
#: Not wrangler, which takes seconds to start: it serves the files that are started here by themselves.
on_each = pytest.mark.parametrize("target", ["deno", "workerd", "lambda", "netlify"])

#: Netlify's emulation makes a new isolate for each request, so that each invocation is the first one of its own.
ALWAYS_FIRST = {"netlify"}

#: How long a documented command may take until it listens, and one that deploys until it has ended, in seconds.
START_S, DEPLOY_S = 60, 120

Serve = Callable[..., str]


@pytest.fixture(autouse=True)
def no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the user's own token or secret."""
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    monkeypatch.delenv(SECRET_VARIABLE, raising=False)


@pytest.fixture
def home(tmp_path: Path) -> Mapping[str, str]:
    """What names the folders of a program that is killed, and so removes nothing: all inside the test's own."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    return {"HOME": str(tmp_path), "TMPDIR": str(temporary), "DENO_DIR": str(tmp_path / "deno")}


@pytest.fixture
def serve(tmp_path: Path, home: Mapping[str, str]) -> Iterator[Serve]:
    """Start an exported folder with its own command, for as long as the test lasts; return its URL."""
    with ExitStack() as ends:

        def serve(exported: Exported, target: str, env: Mapping[str, str] | None = None) -> str:
            if target == "lambda":
                return ends.enter_context(function_url(exported.folder, {**home, **(env or {})}))
            if target == "netlify":
                return ends.enter_context(netlify_url(exported.folder, env or {}))
            listening, options, announces = LISTENING[target]
            process = spawn(
                [*started_by(targets()[target].try_it), *options],
                env={**home, **listening, **(env or {})},
                cwd=exported.folder,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            ends.callback(stop, process)

            def read(line: bytes) -> Announcement | None:
                port = re.search(announces, line.decode())
                return {"port": int(port[1])} if port else None

            log = tmp_path / "log.txt"
            log.touch()
            try:
                said = announcements(target, process, log, read).get(timeout=START_S)
            except queue.Empty:
                pytest.fail(f"{target} does not listen after {START_S} s: {log.read_text()}")
            if not said:
                pytest.fail(f"{target} ended before it listened: {log.read_text()}")
            return f"http://127.0.0.1:{said['port']}/"

        yield serve


def started_by(documented: str) -> list[str]:
    """Return a documented command with the pinned program in the place of its first word."""

    def program(name: str) -> str:
        found = find(name)
        assert found, f"no {name}; run `make setup`"
        return str(found.path)

    words = [word for word in shlex.split(documented) if "=" not in word]
    if words[0] == "npx":
        return [program("node"), program(words[1]), *words[2:]]
    return [program(words[0]), *words[1:]]


def exported_program(folder: Path, target: str, program: str) -> Exported:
    """Export this program into a folder beside it."""
    return export(target, wat.artifact(folder, program), folder / "out")


# --- what is deployed ------------------------------------------------------------------------------------


@on_each
def test_everything_is_checked(target: str, tmp_path: Path, serve: Serve) -> None:
    """As an edge it tells stdout, stderr, status, number and digest: nothing stays unchecked."""
    exported = exported_program(tmp_path, target, wat.reports("oops", 7))
    edge = Remote("edge", serve(exported, target))

    assert edge.probe().available
    assert edge.unchecked == frozenset()
    assert edge.cannot_check() == ""
    assert edge.probed
    assert edge.probed.invocation == 1
    with edge.start(exported.artifact, Limits()) as host:
        outcome = host.run()
    assert (outcome.stdout, outcome.stderr, outcome.ending) == (b"", b"oops", exited(7))
    number = 1 if target in ALWAYS_FIRST else 2
    assert (outcome.invocation, outcome.artifact_sha256) == (number, exported.artifact.sha256)


@on_each
def test_bytes_and_arguments(target: str, tmp_path: Path, serve: Serve) -> None:
    """All bytes and all arguments reach the guest, and nothing is left from one invocation to the next."""
    exported = exported_program(tmp_path, target, wat.ECHO)
    with Remote("edge", serve(exported, target)).start(exported.artifact, Limits()) as host:
        assert host.run(ALL_BYTES * 4096).stdout == ALL_BYTES * 4096
        assert host.run(b"").stdout == b""

    (tmp_path / "two").mkdir()
    exported = exported_program(tmp_path / "two", target, wat.ARGUMENTS)
    with Remote("edge", serve(exported, target)).start(exported.artifact, Limits()) as host:
        assert host.run(args=("ä", "")).stdout == "artifact.wasm\0ä\0\0".encode()


@on_each
def test_a_plain_request_runs_a_program(target: str, tmp_path: Path, serve: Serve) -> None:
    """As curl asks: the body is stdin, the answer is stdout with HTTP 200, and headers tell the rest."""
    exported = exported_program(tmp_path, target, wat.ECHO)
    url = serve(exported, target)
    for number in ("1", "1" if target in ALWAYS_FIRST else "2"):
        reply = httpx.post(
            url, content=ALL_BYTES, headers={"content-type": "application/x-www-form-urlencoded"}
        )

        assert (reply.status_code, reply.content) == (200, ALL_BYTES)
        assert reply.headers[DEFAULT_HEADER] == number
        assert reply.headers[ARTIFACT_HEADER] == exported.artifact.sha256
        assert reply.headers[ENDING_HEADER] == "exited(0)"
        assert WIRE_HEADER not in reply.headers


@on_each
def test_a_plain_request_for_a_program_that_fails(target: str, tmp_path: Path, serve: Serve) -> None:
    """A program that exits with another status has still answered; one that traps has not, and the next one runs."""
    exported = exported_program(tmp_path, target, wat.reports("oops", 7))
    reply = httpx.post(serve(exported, target))
    assert (reply.status_code, reply.content, reply.headers[ENDING_HEADER]) == (200, b"", "exited(7)")

    (tmp_path / "two").mkdir()
    exported = exported_program(tmp_path / "two", target, wat.TRAP)
    url = serve(exported, target)
    reply = httpx.post(url)
    assert (reply.status_code, reply.headers[ENDING_HEADER]) == (500, "trapped")
    assert reply.text.startswith("trapped: ")
    with Remote("edge", url).start(exported.artifact, Limits()) as host:
        assert host.run().ending == trapped()


@on_each
def test_a_secret_keeps_others_out(
    target: str, tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a secret nobody gets in without it, and the message names the variable but shows no token."""
    exported = exported_program(tmp_path, target, wat.ECHO)
    url = serve(exported, target, {SECRET_VARIABLE: "tok-3n"})

    for given in (None, "", "Bearer", "Bearer tok-3", "Bearer tok-3nn", "tok-3n"):
        headers = {} if given is None else {"authorization": given}
        reply = httpx.post(url, content=b"x", headers=headers)
        assert (reply.status_code, DEFAULT_HEADER in reply.headers) == (401, False), given
    assert f"set {TOKEN_VARIABLE}" in Remote("edge", url).probe().reason
    monkeypatch.setenv(TOKEN_VARIABLE, "wr0ng")
    reason = Remote("edge", url).probe().reason
    assert f"put another token into {TOKEN_VARIABLE}" in reason
    assert "wr0ng" not in reason
    monkeypatch.setenv(TOKEN_VARIABLE, "tok-3n")
    with Remote("edge", url).start(exported.artifact, Limits()) as host:
        assert host.run("in").stdout == b"in"


@on_each
def test_an_empty_secret_lets_nobody_in(target: str, tmp_path: Path, serve: Serve) -> None:
    """A secret that came out empty is a mistake, and opens nothing."""
    url = serve(exported_program(tmp_path, target, wat.ECHO), target, {SECRET_VARIABLE: ""})

    for headers in ({}, {"authorization": ""}, {"authorization": "Bearer"}):
        assert httpx.post(url, content=b"x", headers=headers).status_code == 401


@on_each
def test_what_it_does_not_take(target: str, tmp_path: Path, serve: Serve) -> None:
    """Another method, a broken frame and another version of the format are refused; no guest runs for them."""
    exported = exported_program(tmp_path, target, wat.ECHO)
    url = serve(exported, target)

    assert (got := httpx.get(url)).status_code == 405
    assert got.headers["allow"] == "POST"
    for version, content in (("1", b""), ("1", b"{"), ("2", b"{}\n")):
        reply = httpx.post(url, content=content, headers={WIRE_HEADER: version})
        assert (reply.status_code, reply.headers[WIRE_HEADER]) == (400, "1")
    assert httpx.post(url).headers[DEFAULT_HEADER] == "1"


@on_each
def test_ruby(target: str, tmp_path: Path, serve: Serve, builtin_artifact: Artifact) -> None:
    """The built-in Ruby, exported by the console script, runs what is sent to it."""
    folder = tmp_path / "out"
    assert cli.main(["export", target, "--output", str(folder)]) == 0
    url = serve(Exported(targets()[target], folder, builtin_artifact, (), 0), target)

    assert httpx.post(url, content="puts 6 * 7", timeout=60).text == "42\n"
    with Remote("edge", url).start(builtin_artifact, Limits()) as host:
        outcome = host.run("raise 'boom'")
    assert outcome.ending == exited(1)
    assert b"boom (RuntimeError)" in outcome.stderr
    assert "Ruby" in (folder / "artifact.NOTICE.txt").read_text()


def test_what_lambda_does_not_take(tmp_path: Path, serve: Serve) -> None:
    """An answer is never longer than the 6 MB that Lambda sends on: a program that writes more is told so."""
    exported = exported_program(tmp_path, "lambda", ACTOR)
    with Remote("edge", serve(exported, "lambda")).start(exported.artifact, Limits()) as host:
        most, more = host.run(act("pours", 68)), host.run(act("pours", 69))

    assert (len(most.stdout), most.ending) == (68 << 16, exited(0))
    assert more.ending == host_failed()
    assert more.ending.detail == "output limit of 4500000 bytes reached"


@pytest.mark.parametrize(
    "entries",
    [
        [("../out", 3, "0")],
        [("/out", 3, "0")],
        [("a", None, "0"), ("a/../../out", 3, "0")],
        [("a", "..", "0"), ("a/out", 3, "0")],
        [("a", None, "0"), ("a", "..", "0")],
        [("", 3, "0")],
    ],
    ids=["up", "absolute", "down and up", "through a link", "twice", "no name"],
)
def test_a_request_puts_no_file_elsewhere(tmp_path: Path, serve: Serve, entries: list[object]) -> None:
    """Who may send requests to a function cannot write to its environment: a path leads into the guest's folder."""
    exported = exported_program(tmp_path, "lambda", wat.ECHO)
    url = serve(exported, "lambda")
    head = {"args": [], "env": [], "timeout_ms": 1000, "folders": [("/data", entries)]}
    body = json.dumps(head).encode() + b"\nnewin"
    refused = httpx.post(url, content=body, headers={WIRE_HEADER: "1"}, timeout=60)

    assert refused.status_code == 400
    assert "no framed invocation: " in refused.text
    assert not list(tmp_path.rglob("out/out")) + list((tmp_path / "tmp").rglob("*"))
    assert httpx.post(url, content="again", timeout=60).text == "again"


def test_folders_of_a_function_have_a_limit(tmp_path: Path, serve: Serve) -> None:
    """What a guest leaves in its folders counts with its output: an answer is no longer than Lambda takes."""
    exported = exported_program(tmp_path, "lambda", wat.ECHO)
    url = serve(exported, "lambda")
    large = 4_500_001
    head = {"args": [], "env": [], "timeout_ms": 1000, "folders": [("/data", [("large", large, "0")])]}
    body = json.dumps(head).encode() + b"\n" + bytes(large)
    answer = httpx.post(url, content=body, headers={WIRE_HEADER: "1"}, timeout=60)

    assert (
        read_answer("lambda", answer.content).ending.detail
        == "output limit of 4500000 bytes reached in folders"
    )
    assert not list((tmp_path / "tmp").rglob("*"))


def test_a_function_brings_its_engine(tmp_path: Path) -> None:
    """What is written for Lambda is complete, licenses included, and compiles its artifact by itself."""
    folder = exported_program(tmp_path, "lambda", wat.ECHO).folder
    before = (folder / "artifact.cwasm").read_bytes()
    (folder / "artifact.cwasm").unlink()
    # Without the packages of our environment.
    subprocess.run([sys.executable, "-S", "handler.py"], cwd=folder, env={}, check=True, timeout=DEPLOY_S)

    assert (folder / "artifact.cwasm").read_bytes() == before
    assert list(folder.glob("wasmtime-*.dist-info/licenses/LICENSE"))


def test_a_function_is_written_on_linux(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Elsewhere engine and code would be of another system: one sentence, and nothing is written."""
    program = str(wat.artifact(tmp_path, wat.ECHO).path)
    monkeypatch.setattr("sys.platform", "darwin")

    line = refused(capsys, "lambda", "--artifact", program, "--output", str(tmp_path / "out"))
    assert line.endswith("which is darwin: export it on Linux.")
    assert not (tmp_path / "out").exists()


def test_what_netlify_deploys(tmp_path: Path) -> None:
    """Netlify's own bundler takes the whole artifact along; the limit is about its folder alone."""
    exported = exported_program(tmp_path, "netlify", wat.ECHO)
    with Workspace() as place:
        launch = ServingLaunch(Netlify().executable(), exported.artifact, Limits(), place.path)
        node, *_ = Netlify().argv(launch)
        packages = launch.executable.resolve().parents[3]
        bundler = packages / "edge-bundler" / "dist" / "node" / "index.js"
        bundling = f"""const {{ bundle }} = await import("{bundler}");
await bundle(["netlify/edge-functions"], "{tmp_path / "upload"}", [], {{ basePath: process.cwd() }});"""
        done = subprocess.run(
            [node, "--input-type=module", "--eval", bundling],
            cwd=exported.folder,
            # It reads the types of its configuration from the network: without one it goes on.
            env=Netlify().environment(place.path),
            capture_output=True,
            text=True,
            check=False,
            timeout=DEPLOY_S,
        )

    assert done.returncode == 0, done.stdout + done.stderr
    [bundle] = (tmp_path / "upload").glob("*.eszip")
    assert base64.b64encode(exported.artifact.path.read_bytes()) in bundle.read_bytes()
    code = sum(size for path, (size, _) in exported.sizes().items() if path.startswith("netlify/"))
    [limit] = [text for text, _ in lines(exported) if text.startswith("Netlify Edge Functions: ")]
    [part] = [text for text, _ in lines(exported) if text.startswith("  of that netlify/ ")]
    assert f" {code:,} " in part
    assert f"within its limits: {part.split()[-1]} of 20,000,000 bytes under gzip" in limit


def test_an_older_deno_reads_the_text(tmp_path: Path) -> None:
    """Where JavaScript cannot read Base64 itself, the bytes of the artifact are the same."""
    folder = exported_program(tmp_path, "netlify", wat.ECHO).folder
    script = """delete Uint8Array.fromBase64;
const { bytes } = await import(`file://${Deno.cwd()}/netlify/edge-functions/program/artifact.mjs`);
await Deno.stdout.write(bytes());"""
    deno = find("deno")
    assert deno, "no deno; run `make setup`"
    argv = [str(deno.path), "eval", "--no-config", "--no-lock", script]
    env = {"DENO_DIR": str(tmp_path / "deno"), "NO_COLOR": "1"}
    done = subprocess.run(argv, cwd=folder, env=env, capture_output=True, check=True, timeout=START_S)

    assert done.stdout == (folder / "artifact.wasm").read_bytes()


def test_wrangler_deploys_it(tmp_path: Path, home: Mapping[str, str]) -> None:
    """Wrangler takes the folder as it is, and would upload the artifact unchanged."""
    exported = exported_program(tmp_path, "cloudflare", wat.ECHO)
    done = subprocess.run(
        [*started_by(targets()["cloudflare"].deploy), "--dry-run", f"--outdir={tmp_path / 'upload'}"],
        cwd=exported.folder,
        env={**home, **LISTENING["cloudflare"][0]},
        capture_output=True,
        text=True,
        check=False,
        timeout=DEPLOY_S,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "Total Upload" in done.stdout
    [module] = (tmp_path / "upload").glob("*.wasm")
    assert module.read_bytes() == exported.artifact.path.read_bytes()


def test_wrangler_serves_it(tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under `wrangler dev`, with a secret, everything is checked, and a plain request runs a program."""
    exported = exported_program(tmp_path, "cloudflare", wat.reports("oops", 7))
    (exported.folder / ".dev.vars").write_text(f"{SECRET_VARIABLE}=tok-3n\n")
    url = serve(exported, "cloudflare")

    assert httpx.post(url).status_code == 401
    plain = httpx.post(url, headers={"authorization": "Bearer tok-3n"})
    assert (plain.status_code, plain.content, plain.headers[ENDING_HEADER]) == (200, b"", "exited(7)")
    monkeypatch.setenv(TOKEN_VARIABLE, "tok-3n")
    edge = Remote("edge", url)
    with edge.start(exported.artifact, Limits()) as host:
        outcome = host.run()
    assert (outcome.stdout, outcome.stderr, outcome.ending) == (b"", b"oops", exited(7))
    assert edge.cannot_check() == ""


# --- the folder ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", targets())
def test_files(target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The folder holds the artifact unchanged, and the report names every file, its sizes and the next commands."""
    program = wat.artifact(tmp_path, wat.ECHO)
    folder = tmp_path / "new" / "out"
    assert cli.main(["export", target, "--artifact", str(program.path), "--output", str(folder)]) == 0

    printed = capsys.readouterr().out
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {MARKER}
    place = "netlify/edge-functions/program/" if target == "netlify" else ""
    glue = {f"{place}{name}" for name in ("guest.mjs", "shim/index.js", "shim/LICENSE-MIT")}
    assert {"artifact.wasm", "README.md"} <= files
    assert ({"handler.py", "artifact.cwasm"} if target == "lambda" else glue) <= files
    assert set(targets()[target].files) <= files
    assert (folder / "artifact.wasm").read_bytes() == program.path.read_bytes()
    for path in files:
        assert re.search(
            rf"^  {re.escape(path)} +{(folder / path).stat().st_size:,} +[\d,]+$", printed, re.M
        ), path
    assert program.sha256 in printed
    assert program.sha256 in (folder / "README.md").read_text()
    # What an artifact of somebody's reads, we do not know.
    commands = (targets()[target].try_it, targets()[target].deploy, "pytest --wasm-remote=URL", "@input URL")
    for command in commands:
        assert command in printed
        assert command in (folder / "README.md").read_text()
    assert "Anyone who knows its URL can run programs there" in printed
    assert SECRET_VARIABLE in printed
    assert not [
        path for path in folder.iterdir() if path.name.startswith(".pytest-wasmedge-") and path.is_dir()
    ]
    for text in (
        path.read_text() for path in folder.rglob("*") if path.suffix in (".md", ".jsonc", ".capnp")
    ):
        assert "${" not in text


@pytest.mark.parametrize(
    ("name", "worker"),
    [
        ("My Ruby_3.wasm", "my-ruby-3"),
        ("ü.wasm", "artifact"),
        ("a" * 80 + ".wasm", "a" * 54),
        ("-x-.wasm", "x"),
    ],
)
def test_the_name_of_a_worker(
    name: str, worker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the artifact is called, the worker and the default folder have a name that platforms take."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(wat.assemble(wat.ECHO))
    assert cli.main(["export", "cloudflare", "--artifact", f"./{name}"]) == 0

    settings = (tmp_path / f"{worker}-cloudflare" / "wrangler.jsonc").read_text()
    assert json.loads(re.sub(r"//.*", "", settings))["name"] == worker


def test_limits_are_told(tmp_path: Path) -> None:
    """The report holds size and memory against each preset of the platform, and says which are broken."""
    small = [line for line in lines(exported_program(tmp_path, "cloudflare", wat.ECHO)) if "plan:" in line[0]]
    (tmp_path / "large").mkdir()
    hungry = exported_program(tmp_path / "large", "cloudflare", wat.command("", pages=3000))
    large = [line for line in lines(hungry) if "plan:" in line[0]]

    assert [style for _, style in small] == ["green", "green"]
    assert [style for _, style in large] == ["red", "red"]
    assert "within its limits" in small[0][0]
    assert "OVER ITS LIMITS" in large[0][0]
    assert "3,000 of 2,048 pages of memory" in large[0][0]
    assert "https://developers.cloudflare.com/workers/platform/limits/" in large[0][0]


def test_an_earlier_export_is_brought_up_to_date(tmp_path: Path) -> None:
    """Exporting again replaces what we wrote, removes what is no longer part of it, and leaves all other files."""
    folder = exported_program(tmp_path, "workerd", wat.ECHO).folder
    (folder / "mine.txt").write_text("mine")
    exported = exported_program(tmp_path, "deno", wat.TRAP)

    assert exported.folder == folder
    assert (folder / "artifact.wasm").read_bytes() == wat.assemble(wat.TRAP)
    assert (folder / "main.ts").exists()
    assert not (folder / "config.capnp").exists()
    assert (folder / "mine.txt").read_text() == "mine"


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """Run `export`, which must end with 1 and one line, and return that."""
    capsys.readouterr()
    assert cli.main(["export", *argv]) == 1
    printed = capsys.readouterr()
    [line] = printed.err.splitlines()
    assert printed.out == ""
    return line


def test_what_is_not_ours_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder of somebody else, and one whose files were changed since, are written only by force."""
    program = str(wat.artifact(tmp_path, wat.ECHO).path)
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "worker.mjs").write_text("mine")
    argv = ("cloudflare", "--artifact", program, "--output", str(folder))

    assert "exists and is not an earlier export: give another --output, or --force" in refused(capsys, *argv)
    assert [path.name for path in folder.iterdir()] == ["worker.mjs"]
    assert cli.main(["export", *argv, "--force"]) == 0
    (folder / "wrangler.jsonc").write_text("{}")
    assert "wrangler.jsonc changed since the last export" in refused(capsys, *argv)
    assert (folder / "wrangler.jsonc").read_text() == "{}"
    assert cli.main(["export", *argv, "--force"]) == 0
    assert cli.main(["export", *argv]) == 0


@pytest.mark.parametrize("files", ["[]", '{"../program.wasm": "x"}', '{"/etc/hostname": "x"}', "1"])
def test_a_marker_that_we_did_not_write(
    files: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A marker that names what we cannot have written makes no folder ours, and nothing outside is touched."""
    program = wat.artifact(tmp_path, wat.ECHO).path
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / MARKER).write_text(f'{{"files": {files}}}')

    line = refused(capsys, "deno", "--artifact", str(program), "--output", str(folder))
    assert "not an earlier export" in line
    assert cli.main(["export", "deno", "--artifact", str(program), "--output", str(folder), "--force"]) == 0
    assert program.exists()


def test_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An output that is a file, an artifact that is none, and an unknown target: one sentence each."""
    program = str(wat.artifact(tmp_path, wat.ECHO).path)
    (tmp_path / "text").write_text("text")

    assert "cannot be written (Not a directory)" in refused(
        capsys, "deno", "--artifact", program, "--output", program
    )
    assert "cannot be written (Not a directory)" in refused(
        capsys, "deno", "--artifact", program, "--output", f"{program}/out"
    )
    assert "text" in refused(
        capsys, "deno", "--artifact", str(tmp_path / "text"), "--output", str(tmp_path / "o")
    )
    assert "absent.wasm" in refused(capsys, "deno", "--artifact", str(tmp_path / "absent.wasm"))
    assert not (tmp_path / "o").exists()
    with pytest.raises(SystemExit) as ending:
        cli.main(["export", "fastly"])
    assert ending.value.code == 2


def test_without_the_shim(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the WASI shim nothing is written, and the command that gets it is named."""
    monkeypatch.setenv("PYTEST_WASMEDGE_CACHE", str(tmp_path / "cache"))
    program = str(wat.artifact(tmp_path, wat.ECHO).path)

    line = refused(capsys, "deno", "--artifact", program, "--output", str(tmp_path / "out"))
    assert "pytest-wasmedge install shim" in line
    assert not (tmp_path / "out").exists()


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that cannot be written is told in one sentence."""
    program = str(wat.artifact(tmp_path, wat.ECHO).path)
    assert "cannot be written" in refused(capsys, "deno", "--artifact", program, "--output", "/proc/export")


def test_the_console_script_knows_the_targets() -> None:
    """The choices of `export` are the targets."""
    for target in targets():
        assert cli.parser().parse_args(["export", target]).target == target
