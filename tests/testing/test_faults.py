"""The catalogue of faults: each is planted, changes what it says, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import pytest

from pytest_wasmedge.model import (
    Artifact,
    Content,
    Ending,
    Host,
    Invocation,
    Limits,
    Outcome,
    Timings,
    exited,
    host_failed,
    timed_out,
    trapped,
)
from pytest_wasmedge.testing import FAULTS, KINDS, FakeRuntime, Fault, FaultyRuntime

ARTIFACT = Artifact(Path("/srv/artifact.wasm"), "0" * 64, 8, "artifact")
ERROR = (
    b"main.rb:1: warning: odd\nmain.rb:2:in 'f': boom \xc3\xa9 (RuntimeError)\n\tfrom main.rb:3:in '<main>'\n"
)
SYNTAX_ERROR = b"main.rb: main.rb:1: syntax error found (SyntaxError)\n> 1 | (\n"
BYTES = bytes(range(256)) * 16
ENDINGS = (
    exited(0),
    exited(1),
    exited(42),
    exited(125),
    exited(200),
    trapped(),
    timed_out(),
    host_failed("output limit of 1 byte reached"),
)


class Echo(FakeRuntime):
    """Answers with all that it was asked; what its guest would write is given."""

    capabilities = frozenset({"memory_limit", "preopens", "concurrent"})

    def __init__(
        self, stdout: bytes | None = None, stderr: bytes = ERROR, ending: Ending = ENDINGS[1]
    ) -> None:
        self.stdout, self.stderr, self.ending = stdout, stderr, ending
        self.count = 0
        super().__init__(answer=self._echo)

    def start(self, artifact: Artifact, limits: Limits) -> Host:
        host = super().start(artifact, limits)
        self.limits = limits
        return host

    def _echo(self, invocation: Invocation) -> Outcome:
        self.folders = {
            name: sorted((path.name, path.is_file()) for path in (folder, *folder.rglob("*")))
            for name, folder in invocation.preopens.items()
        }
        self.asked = replace(invocation, preopens={})
        self.count += 1
        own = b"%s%d" % (invocation.stdin, self.count)
        own += repr((invocation.args, [*invocation.env.items()])).encode()
        stdout = own if self.stdout is None else self.stdout
        timings = Timings(10**9, {"run": 10**9})
        files: dict[str, Content] = {}
        for name in invocation.preopens:
            files |= {
                f"{name}/made.txt": b"m" * 70_000,
                f"{name}/below": None,
                f"{name}/below/file.txt": b"f",
            }
        return Outcome(stdout, self.stderr, self.ending, timings=timings, files=files)


#: What a guest may write, so that each fault of a stream has something to spoil.
OUTPUTS = (
    b"",
    b"one\ntwo \t\r\n\n\n\nthree \n\x00\x07 \x1a",
    b"\xef\xbb\xbf" + "héllo ☃\n".encode(),
    b"\xff\xfe",
    *(b"x" * (size + beside) for size in (4096, 8192, 65536) for beside in (-1, 0, 1)),
    b"".join(b"%d\n" % number for number in range(40_000)) + b"y",
    "☃".encode() * 30_000,
    b"z" * ((8 << 20) + 1),
)
STDINS = (
    b"",
    b"puts 1",
    b"puts 1\n",
    b"\xef\xbb\xbfputs 1\r\n# \x00\x1a\xff\n",
    b"a" * 4096,
    b"b" * (1 << 20) + b"c",
    b"b" * (1 << 20) + b"d",
)
ARGUMENTS = (
    (),
    ("one", "two three", "", " two ", "one", "one", "-x", "é ☃", 'a"b\\c\nd', "x" * 300),
    tuple(map(str, range(100))),
)
VARIABLES: tuple[dict[str, str], ...] = (
    {},
    {"b": "1=2", "A": "", "c": " x\ny ", "d": "é", "E": "$b", "F": "x" * 2000},
    {"Z": "1"},
)


def invocations(folders: dict[str, Path]) -> list[Invocation]:
    """Return what a host is asked: each fault of delivery has something to spoil, and so has a cache."""
    return [
        *(Invocation(stdin) for stdin in STDINS),
        *(Invocation(b"puts 2\n", args) for args in ARGUMENTS),
        *(Invocation(b"puts 3\n", env=env) for env in VARIABLES),
        Invocation(b"puts 4\n", ("five",)),
        Invocation(b"puts 4\n", env={"five": "5"}),
        Invocation(preopens=folders),
        Invocation(timeout_s=2.5),
    ]


@pytest.fixture
def seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Fault | None], list[object]]:
    """A function that returns all that can be seen of a host with this fault: what its guest gets, what it tells."""
    slept: list[float] = []
    monkeypatch.setattr("pytest_wasmedge.testing.latency.time.sleep", slept.append)
    folders = {"/data": tmp_path / "one" / "data", "/more": tmp_path / "two"}
    for folder in folders.values():
        folder.mkdir(parents=True)
        (folder / "file.txt").write_text(folder.name)

    def look(fault: Fault | None) -> list[object]:
        slept.clear()
        found: list[object] = []

        def ask(echo: Echo, *asked: Invocation, own: Host | None = None) -> None:
            host = own or FaultyRuntime(echo, fault).start(ARTIFACT, Limits())
            for each in asked:
                outcome = host.invoke(each)
                found.append((echo.asked, tuple(echo.asked.env), echo.folders, echo.limits))
                found.append((outcome.stdout, outcome.stderr, outcome.ending, outcome.invocation))
                found.append((outcome.timings, outcome.files, sorted(tmp_path.rglob("*"))))

        ask(Echo(), *invocations(folders), *[Invocation(b"again")] * 110)
        for ending in ENDINGS:
            for stderr in (b"", ERROR, SYNTAX_ERROR, b"\xff\r"):
                ask(Echo(b"out\n", stderr, ending), Invocation(b"raise\n", args=("1",)))
        if fault is None or fault.kind in ("streams", "isolation"):
            for output in OUTPUTS:
                ask(Echo(output, output, exited(0)), Invocation(b"next"))
        # One after the other on one host, each with another ending.
        echo = Echo()
        host = FaultyRuntime(echo, fault).start(ARTIFACT, Limits())
        for number, ending in enumerate((exited(3), *ENDINGS, exited(0))):
            echo.ending, echo.stdout = ending, b"%d" % number
            ask(echo, Invocation(b"$left = 1\nputs %d" % number), own=host)
        found.extend(slept)
        return found

    return look


def at_once(fault: Fault | None) -> list[tuple[bytes, bytes, Ending]]:
    """Return what 50 guests wrote that ran at the same time, each with what it was asked."""
    barrier = Barrier(50)

    def answer(invocation: Invocation) -> Outcome:
        barrier.wait()
        return Outcome(invocation.stdin, invocation.stdin, exited(int(invocation.stdin)))

    host = FaultyRuntime(FakeRuntime(answer=answer), fault).start(ARTIFACT, Limits())
    with ThreadPoolExecutor(50) as threads:
        outcomes = list(threads.map(host.invoke, (Invocation(b"%d\n" % number) for number in range(50))))
    return [(each.stdout, each.stderr, each.ending) for each in outcomes]


def test_names_and_sentences() -> None:
    """Each fault has a kind, words that its message should have, and a sentence that goes on after "a host that"."""
    for name, fault in FAULTS.items():
        assert name == fault.name == str(fault)
        assert fault.kind in KINDS
        assert fault.sentence
        assert not fault.sentence.endswith(".")
        assert fault.says == tuple(word.lower() for word in fault.says if word)
        assert fault.says
    assert len({fault.sentence for fault in FAULTS.values()}) == len(FAULTS)
    assert {fault.kind for fault in FAULTS.values()} == set(KINDS)


def test_no_fault_changes_nothing(seen: Callable[[Fault | None], list[object]]) -> None:
    """A wrapper without a fault shows what the runtime shows."""
    assert seen(None) == seen(None)
    for number, (stdout, stderr, ending) in enumerate(at_once(None)):
        assert (stdout, stderr, ending) == (b"%d\n" % number, b"%d\n" % number, exited(number))


@pytest.fixture(scope="module")
def clean() -> dict[str, list[object]]:
    """What was seen without a fault, by the kind of faults that it is compared with."""
    return {}


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_shows(name: str, seen: Callable[[Fault | None], list[object]]) -> None:
    """Each fault changes something that a suite could see."""
    fault = FAULTS[name]
    if fault.kind == "isolation" and " at once" in fault.sentence:
        assert at_once(fault) != at_once(None)
    else:
        assert seen(fault) != seen(None)


def test_in_the_witness(monkeypatch: pytest.MonkeyPatch) -> None:
    """Faults that are planted by a line of Ruby show in what the witness answers too."""
    monkeypatch.setattr("pytest_wasmedge.testing.randomness.time.time", lambda: 1.0)
    told = {
        b"c": b"1 1795000001234567890 \n1 1001000500 \n1002000600 1103000700 \n",
        b"s": b"1795000001234567890 1001000500 \n0 \n1795000001334567890 1103000700 \n",
        b"r": bytes(range(200, 140, -1)) + b"\0",
        b"d": b"0 0 0 8 \n1 0 0 8 \n2 0 0 8 \n3 3 0 0 \n",
        b"m": b"0 0 3 \n",
    }
    requests = (b"clocks 2\n", b"sleep 100\n", b"random 61\n", b"descriptors\n", b"memory\n", b"memory\n")

    def look(fault: str | None) -> list[tuple[bytes, bytes]]:
        asked: list[bytes] = []

        def answer(invocation: Invocation) -> bytes:
            asked.append(invocation.stdin)
            return told[invocation.stdin[:1]]

        host = FaultyRuntime(FakeRuntime(answer=answer), fault).start(
            replace(ARTIFACT, name="witness"), Limits()
        )
        answers = [host.run(request).stdout for request in requests]
        return list(zip(asked, answers, strict=True))

    planted = [
        name
        for name, fault in FAULTS.items()
        if fault.kind in ("clocks", "randomness") or name.endswith("terminal")
    ]
    clean = look(None)

    assert [name for name in [*planted, "reuses_instance"] if look(name) == clean] == ["clock_in_local_zone"]
    assert dict(look("clock_frozen"))[b"sleep 100\n"] == (
        b"1795000001234567890 1001000500 \n0 \n1795000001234567890 1103000700 \n"
    )
    assert dict(look("monotonic_in_us"))[b"clocks 2\n"] == (
        b"1 1795000001234567890 \n1 1001000 \n1002000 1103000 \n"
    )
    assert look("sleep_returns_after_half")[1][0] == b"sleep 50\n"
    assert dict(look("stdout_is_terminal"))[b"descriptors\n"] == b"0 0 0 8 \n1 2 0 8 \n2 0 0 8 \n3 3 0 0 \n"
    assert [answer for _, answer in look("reuses_instance")[-2:]] == [b"0 0 3 \n", b"1 1 4 \n"]
