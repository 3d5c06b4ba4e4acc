"""A guest is granted what the invocation grants, and that is nothing unless it asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from conformance.asking import ANYTHING, Asking
from pytest_wasmedge.model import Invocation, Outcome, exited
from pytest_wasmedge.portability.compare import assert_same

GRANTED = "the host grants a folder that the invocation does not ask for"
#: Types of descriptors in preview 1.
_TERMINAL, _FOLDER = 2, 3
SECRET = b"this is on the machine, and not for guests"

# Each expression is a thing that a guest must not be able to do; it has to raise.
DENIED = {
    "read_file": "File.read('/etc/passwd')",
    "read_relative": "File.read('pyproject.toml')",
    "list_root": "Dir.children('/')",
    "list_here": "Dir.children('.')",
    "write_file": "File.write('/tmp/pytest-wasmedge-guest', 'x')",
    "make_folder": "Dir.mkdir('pytest-wasmedge-guest')",
    "system": "system('exit 3') == false or raise('nothing was run')",
    "backtick": "`ls`",
    "fork": "fork",
    "popen": "IO.popen('ls')",
    "socket": "require 'socket'; TCPSocket.new('127.0.0.1', 80)",
}


def test_no_environment(run: Asking) -> None:
    """Without env, the guest's environment is empty: nothing of the host's comes through."""
    run("p ENV.to_h\n", b"{}\n", meaning="variables of the host come through")


def test_no_arguments(run: Asking) -> None:
    """Without args, ARGV is empty."""
    run("p ARGV\n", b"[]\n", meaning="arguments of the host come through")


@pytest.mark.parametrize("name", DENIED)
def test_denied(run: Asking, name: str) -> None:
    """Files, folders, processes and sockets of the host are out of reach; trying is an ordinary error."""
    run(
        f"begin\n  {DENIED[name]}\n  puts 'GRANTED'\n"
        "rescue Exception => e\n  puts 'denied'\n  warn e.message\nend\n",
        b"denied\n",
        ANYTHING,
        meaning="the host grants what the invocation does not ask for",
    )


def test_nothing_but_streams_is_open(ask: Asking) -> None:
    """A guest of any kind has three descriptors, and none of them is a folder."""
    _check_open(ask, lambda kind: "folder" if kind == _FOLDER else "stream", "stream", GRANTED)


def test_no_stream_is_a_terminal(ask: Asking) -> None:
    """A guest of any kind hears of no standard stream that it is a terminal (a character device)."""
    claim = "the host claims that a stream is a terminal: guests colour what they write"
    _check_open(ask, lambda kind: "terminal" if kind == _TERMINAL else "other", "other", claim, streams=True)


def test_files_of_the_machine_are_out_of_reach(ask: Asking, tmp_path: Path) -> None:
    """A guest that knows the path of a file cannot open it, from the root or from the folder of its host."""
    secret = tmp_path / "secret.txt"
    secret.write_bytes(SECRET)
    up = "../" * 32
    for path in (
        str(secret).lstrip("/"),
        str(secret),
        up + str(secret).lstrip("/"),
        "pyproject.toml",
        "etc/passwd",
    ):
        outcome = ask(b"peek %b\n" % path.encode(), ANYTHING, data=True)
        if outcome.stdout.startswith(b"0 "):
            ask.fail(f"{GRANTED}: the guest has opened {path}", outcome, b"peek %b\n" % path.encode())


def test_a_file_does_not_outlive_its_guest(ask: Asking, tmp_path: Path) -> None:
    """A file that one guest makes where it can, the next one does not find, nor does the machine."""
    ask(b"new left-by-a-guest.txt\ndata", ANYTHING)
    outcome = ask(b"peek left-by-a-guest.txt\n", ANYTHING, data=True)
    if outcome.stdout.startswith(b"0 "):
        ask.fail("a file of the last invocation is still there", outcome, b"peek left-by-a-guest.txt\n")


def test_a_granted_folder_is_the_one_asked_for(ask: Asking, tmp_path: Path) -> None:
    """A guest sees the folder that it was granted under its name, reads and writes in it, and nothing above it.

    What it left there is part of the outcome; the user's own folder is as it was.
    """
    granted = _folder(ask, tmp_path)
    asked = {"/data": granted}
    ask(b"peek given.txt\n", b"0 \ngiven", preopens=asked, meaning="the host grants another folder, or none")
    ask(
        b"new made.txt\nfrom the guest",
        b"0 \n",
        preopens=asked,
        files={"/data/given.txt": b"given", "/data/made.txt": b"from the guest"},
        meaning="the host grants the folder read-only, or does not bring back what the guest wrote",
    )
    if sorted(each.name for each in granted.iterdir()) != ["given.txt"]:
        ask.fail("the guest has written into the user's own folder")
    outcome = ask(b"descriptors\n", ANYTHING, preopens=asked, data=True)
    folders = {
        name.lstrip("/") for kind, error, name in _open(outcome).values() if kind == _FOLDER and error == 0
    }
    if folders != {"data"}:
        ask.fail(f'asked for the folder "/data", the guest has {sorted(folders)}', outcome, b"descriptors\n")
    for path in ("../secret.txt", str(tmp_path / "secret.txt")):
        outcome = ask(b"peek %b\n" % path.encode(), ANYTHING, preopens=asked, data=True)
        if outcome.stdout.startswith(b"0 "):
            ask.fail(
                "the guest has left the folder that it was granted", outcome, b"peek %b\n" % path.encode()
            )


def test_no_way_leads_out_of_a_granted_folder(ask: Asking, tmp_path: Path) -> None:
    """A guest that makes links of both kinds, moves over them and goes through them reaches nothing outside.

    It may be refused, or stay inside: what is beside the folder is neither read nor changed, and in no outcome.
    """
    granted = _folder(ask, tmp_path)
    secret = tmp_path / "secret.txt"
    before = secret.stat()
    request = b"ways\n" + _ways_out(secret).encode()
    out = "the host lets a guest out of its folder, by a link that it made or by a path: the guest"
    for _ in range(2):
        outcome = ask(request, ANYTHING, preopens={"/data": granted}, data=True)
        told = (outcome.stdout, outcome.stderr, *outcome.files.values())
        if any(SECRET in each for each in told if isinstance(each, bytes)):
            ask.fail(f"{out} has read a file beside it", outcome)
        after = secret.stat() if secret.exists() else None
        if after is None or secret.read_bytes() != SECRET or after.st_mtime_ns != before.st_mtime_ns:
            ask.fail(f"{out} has changed a file beside it", outcome)
        if after.st_nlink != before.st_nlink:
            ask.fail(f"{out} has made a link to a file beside it", outcome)
        found = sorted(each.relative_to(tmp_path).as_posix() for each in tmp_path.rglob("*"))
        if found != ["granted", "granted/given.txt", "secret.txt"]:
            ask.fail(f"{out} has made or moved something outside: {found}", outcome)


def _ways_out(secret: Path) -> str:
    """Return steps for the witness, each of which tries to reach the file, or the folder that it is in."""
    path, place = str(secret).lstrip("/"), str(secret.parent).lstrip("/")
    up = "../" * 32
    links = {
        "absolute": f"/{path}",
        "relative": f"{up}{path}",
        "root": "/",
        "up": up,
        "sub/up": f"sub/../{up}",
        "sub/chain": "../relative",
        "sub/loop": "../sub/../up",
        "new": f"/{place}/planted-by-a-link",
        # By their words alone, these stay in the folder.
        "here": ".",
        "out": f"{'here/' * 12}{'../' * 12}",
        "out-file": f"{'here/' * 12}{'../' * 12}{path}",
        "out-new": f"{'here/' * 12}{'../' * 12}{place}/out",
    }
    # Where they are made, these lead to the folder itself; then they are moved.
    deep = "deep/" * 12
    inner = {
        "risen": "../" * 12,
        "risen-file": f"{'../' * 12}{path}",
        "risen-new": f"{'../' * 12}{place}/risen",
    }
    files = [
        *(f"/{path}", f"{up}{path}", f"sub/../{up}{path}", "absolute", "relative", "sub/chain"),
        *(f"{link}/{path}" for link in ("root", "up", "sub/up", "sub/loop", "out", "risen", "hard-risen")),
        *("out-file", "risen-file", "hard-risen-file"),
    ]
    planted = [f"{each.removesuffix(path)}{place}/planted" for each in files if each.endswith(path)]
    steps = ["folder sub", *(f"symlink {to} {at}" for at, to in links.items())]
    steps += [f"folder {deep[: 5 * depth]}" for depth in range(1, 13)]
    steps += [f"symlink {to} {deep}{at}" for at, to in inner.items()]
    steps += [f"hard {deep}{at} hard-{at}" for at in inner]
    steps += [f"move {deep}{at} {at}" for at in inner]
    steps += [f"read {each}" for each in files]
    for number, each in enumerate(files):
        steps += [f"hard {each} hard-{number}", f"read hard-{number}", f"write hard-{number}"]
        steps += [f"Hard {each} soft-{number}", f"read soft-{number}", f"write soft-{number}"]
    steps += [f"write {each}" for each in (*files, *planted, "new", "out-new", "risen-new", "hard-risen-new")]
    for each in planted:
        steps += [f"folder {each}-folder", f"symlink given.txt {each}-link", f"hard given.txt {each}-hard"]
    for number, each in enumerate(files):
        steps += [f"move {each} moved-{number}", f"read moved-{number}"]
    # What is moved over a link takes its place, and does not go where it leads.
    steps += [f"symlink {up}{path} over", "folder made", "write mine", "move mine over", "move made up"]
    for each in planted:
        steps += ["write mine", f"move mine {each}"]
    steps += [f"delete {each}" for each in files]
    return "".join(f"{step}\n" for step in steps)


def test_large_and_deep_files_are_whole(ask: Asking, tmp_path: Path) -> None:
    """Files of any size arrive whole, also in folders below the one that was granted, and come back so."""
    granted = _folder(ask, tmp_path)
    below = granted / "below" / "deeper"
    below.mkdir(parents=True)
    large = b"0123456789abcde\n" * 12_345
    (below / "large.txt").write_bytes(large)
    (granted / "empty").mkdir()
    files: dict[str, bytes | str | None] = {
        "/data/given.txt": b"given",
        "/data/empty": None,
        "/data/below": None,
        "/data/below/deeper": None,
        "/data/below/deeper/large.txt": large,
    }
    lost = "the host cuts files, or leaves out what lies in folders below"
    asked = {"/data": granted}
    ask(b"peek below/deeper/large.txt\n", b"0 \n" + large, preopens=asked, files=files, meaning=lost)
    files["/data/below/made.txt"] = large[::-1]
    ask(b"new below/made.txt\n" + large[::-1], b"0 \n", preopens=asked, files=files, meaning=lost)


def test_each_of_two_folders_has_its_own_name(ask: Asking, tmp_path: Path) -> None:
    """A guest that is granted two folders has both, each under the name that was given to it."""
    granted, other = _folder(ask, tmp_path), tmp_path / "other"
    other.mkdir()
    (other / "given.txt").write_bytes(b"other")
    content = {"data": b"given", "more": b"other"}
    asked = {"/data": granted, "/more": other}
    outcome = ask(b"descriptors\n", ANYTHING, preopens=asked, data=True)
    names = {
        number: name.lstrip("/") for number, (kind, _, name) in _open(outcome).items() if kind == _FOLDER
    }
    if sorted(names.values()) != sorted(content):
        ask.fail(
            f"two folders were asked for, data and more; the guest has {sorted(names.values())}",
            outcome,
            b"descriptors\n",
        )
    for number, name in names.items():
        ask(
            b"peek%d given.txt\n" % number,
            b"0 \n" + content[name],
            preopens=asked,
            meaning="the host grants a folder under the name of another",
        )


def test_a_granted_folder_is_for_one_invocation(ask: Asking, tmp_path: Path) -> None:
    """The next guest has no folder, or the one that it asks for, without what was written in another."""
    granted, other = _folder(ask, tmp_path), tmp_path / "other"
    other.mkdir()
    ask(b"new made.txt\nfrom the guest", b"0 \n", preopens={"/data": granted})
    kept = "the folder of the last invocation is still there"
    for preopens in ({}, {"/data": other}, {"/data": granted}):
        outcome = ask(b"peek made.txt\n", ANYTHING, preopens=preopens, data=True)
        if outcome.stdout.startswith(b"0 "):
            ask.fail(kept, outcome, b"peek made.txt\n")


def _check_open(
    ask: Asking, called: Callable[[int], str], expected: str, meaning: str, *, streams: bool = False
) -> None:
    """Hold what the descriptors are called against three times the same; of the streams alone if so asked."""
    __tracebackhide__ = True
    invocation = Invocation(b"descriptors\n")
    outcome = ask.host.invoke(invocation)
    found = [
        f"{number}: {called(kind)}{f' {name}' if kind == _FOLDER else ''}\n"
        for number, (kind, _, name) in sorted(_open(outcome).items())
        if number < 3 or not streams
    ]
    assert_same(
        replace(outcome, stdout="".join(found).encode()),
        Outcome("".join(f"{number}: {expected}\n" for number in range(3)).encode(), b"", exited(0)),
        invocation=invocation,
        leaks=False,
        meaning=meaning,
    )


def _folder(ask: Asking, tmp_path: Path) -> Path:
    """Return a new folder with one file, beside a secret; skip where a guest cannot be given folders."""
    if "preopens" not in ask.host.runtime.capabilities:
        pytest.skip(f"{ask.host.runtime.name} cannot give folders to a guest")
    (tmp_path / "secret.txt").write_bytes(SECRET)
    granted = tmp_path / "granted"
    granted.mkdir()
    (granted / "given.txt").write_bytes(b"given")
    return granted


def _open(outcome: Outcome) -> Mapping[int, tuple[int, int, str]]:
    """Return type, error of asking for its folder, and name of each open descriptor."""
    found = {}
    for line in outcome.stdout_text.splitlines():
        number, kind, error, name = line.split(" ", 3)
        found[int(number)] = (int(kind), int(error), name)
    return found
