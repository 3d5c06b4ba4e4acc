"""Faults in the folders that a guest is given. No folder of this machine is shown: others stand for them."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from pytest_wasmedge.drivers.folders import granted, told
from pytest_wasmedge.model import Files, Host, Invocation, Outcome
from pytest_wasmedge.testing.fault import Fault, Invoke, Plant
from pytest_wasmedge.testing.planting import answered, asked
from pytest_wasmedge.testing.witness import answers

Folders = Mapping[str, Path]
#: The error number of preview 1 for a file system that is read-only.
_READ_ONLY = 69
#: What stands for the host's root folder: files that every host has.
_OF_A_ROOT = {
    "etc/passwd": "root:x:0:0::/:/bin/sh\n",
    "etc/hostname": "worker\n",
    "tmp/.keep": "",
    "proc/version": "1\n",
}
_OF_A_PROJECT = {"pyproject.toml": "[project]\n", "package.json": "{}\n", "README.md": "# A project\n"}


def _fault(name: str, sentence: str, plant: Plant) -> Fault:
    return Fault(name, "files", sentence, plant, ("file", "folder", "preopen", "granted"), "preopens")


def _given(change: Callable[[Folders], Folders]) -> Plant:
    return asked(lambda each: replace(each, preopens=change(each.preopens)))


def _brought_back(change: Callable[[Invocation, Files], Files]) -> Plant:
    """Return a plant that changes what a guest has left in its folders."""
    return answered(
        lambda invocation, each: replace(each, files=change(invocation, each.files)) if each.files else each
    )


def _as_given(invocation: Invocation, left: Files) -> Files:
    """Return what was in the folders before."""
    folders = granted("a faulty host", invocation)
    return told((path, {entry.path: entry.content for entry in entries}) for path, entries in folders)


def _granting(guest_path: str, files: Mapping[str, str], *, keep: bool = False) -> Plant:
    """Return a plant that grants one more folder, and tells nothing of it; with ``keep``, what is left stays in it."""

    def plant(host: Host) -> Invoke:
        kept = _scratch(files)

        def invoke(invocation: Invocation) -> Outcome:
            outcome = host.invoke(replace(invocation, preopens={guest_path: kept, **invocation.preopens}))
            own = tuple(f"{path.rstrip('/')}/" for path in invocation.preopens)
            if keep:
                _write(kept, {path: each for path, each in outcome.files.items() if not path.startswith(own)})
            return replace(
                outcome, files={path: each for path, each in outcome.files.items() if path.startswith(own)}
            )

        weakref.finalize(invoke, shutil.rmtree, kept, ignore_errors=True)
        return invoke

    return plant


def _another(host: Host) -> Invoke:
    empty = _scratch({})

    def invoke(invocation: Invocation) -> Outcome:
        return host.invoke(replace(invocation, preopens=dict.fromkeys(invocation.preopens, empty)))

    weakref.finalize(invoke, shutil.rmtree, empty, ignore_errors=True)
    return invoke


def _scratch(files: Mapping[str, str]) -> Path:
    scratch = Path(tempfile.mkdtemp(prefix="pytest-wasmedge-fault-"))
    _write(scratch, {path: text.encode() for path, text in files.items()})
    return scratch


def _write(folder: Path, files: Files) -> None:
    """Put files and folders into a folder; links are left out, since nobody here follows them."""
    for name, content in files.items():
        path = folder / name.lstrip("./")
        (path if content is None else path.parent).mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)


def _renamed(host: Host) -> Invoke:
    def invoke(invocation: Invocation) -> Outcome:
        renamed = {f"/mnt{name}": folder for name, folder in invocation.preopens.items()}
        outcome = host.invoke(replace(invocation, preopens=renamed))
        return replace(
            outcome, files={path.removeprefix("/mnt"): each for path, each in outcome.files.items()}
        )

    return invoke


def _written_through(host: Host) -> Invoke:
    def invoke(invocation: Invocation) -> Outcome:
        outcome = host.invoke(invocation)
        for name, folder in invocation.preopens.items():
            begin = f"{name.rstrip('/')}/"
            left = {
                path.removeprefix(begin): each
                for path, each in outcome.files.items()
                if path.startswith(begin)
            }
            _write(folder, left)
        return outcome

    return invoke


def _read_only(host: Host) -> Invoke:
    """Refuse what the witness writes; what other guests write is lost."""
    refusing = answers({"n": lambda _: b"%d \n" % _READ_ONLY})(host)

    def invoke(invocation: Invocation) -> Outcome:
        outcome = refusing(invocation)
        return replace(outcome, files=_as_given(invocation, outcome.files)) if outcome.files else outcome

    return invoke


def _out(invocation: Invocation) -> Iterator[tuple[int, str, Path]]:
    """Yield number, verb and goal of each step of `ways` by an absolute link to a file that lies beside the folder."""
    word, *steps = invocation.stdin.decode("utf-8", "replace").splitlines() or [""]
    beside = {folder.parent for folder in invocation.preopens.values()}
    links = {}
    for number, (verb, *paths) in enumerate(step.split(" ") for step in steps if word == "ways"):
        if verb == "symlink" and Path(paths[0]).is_absolute():
            links[paths[1]] = Path(paths[0])
        goal = links.get(paths[0])
        if goal and goal.parent in beside and goal.name not in ("", ".."):
            yield number, verb, goal


def _read_by_links(host: Host) -> Invoke:
    def invoke(invocation: Invocation) -> Outcome:
        outcome = host.invoke(invocation)
        lines = outcome.stdout.splitlines(keepends=True)
        for number, verb, goal in _out(invocation):
            if verb == "read" and goal.is_file():
                lines[number] = b"0 \n" + goal.read_bytes()
        return replace(outcome, stdout=b"".join(lines))

    return invoke


def _created_by_links(host: Host) -> Invoke:
    def invoke(invocation: Invocation) -> Outcome:
        outcome = host.invoke(invocation)
        for _, verb, goal in _out(invocation):
            if verb == "write" and not goal.exists():
                goal.write_bytes(b"from a guest")
        return outcome

    return invoke


def _values_reversed(folders: Folders) -> Folders:
    return dict(zip(folders, [*folders.values()][::-1], strict=True))


def _cut(invocation: Invocation, left: Files) -> Files:
    return {path: each[: 64 << 10] if isinstance(each, bytes) else each for path, each in left.items()}


def _uppermost(invocation: Invocation, left: Files) -> Files:
    depths = {path: path.rstrip("/").count("/") + 1 for path in invocation.preopens}
    return {
        path: each
        for path, each in left.items()
        if any(
            path.startswith(f"{name.rstrip('/')}/") and path.count("/") == depth
            for name, depth in depths.items()
        )
    }


FAULTS = (
    _fault("grants_root", "grants its root folder to every guest", _granting("/", _OF_A_ROOT)),
    _fault(
        "grants_working_folder", "grants its working folder to every guest", _granting(".", _OF_A_PROJECT)
    ),
    _fault("grants_tmp", "grants /tmp to every guest", _granting("/tmp", {})),
    _fault(
        "grants_etc", "grants /etc to every guest", _granting("/etc", {"passwd": "root:x:0:0::/:/bin/sh\n"})
    ),
    _fault(
        "keeps_a_folder",
        "gives all guests one folder, which is kept from invocation to invocation",
        _granting("/", {}, keep=True),
    ),
    _fault("gives_no_folder", "does not give the folders that are granted", _given(lambda folders: {})),
    _fault(
        "gives_first_folder",
        "gives the first of the folders that are granted",
        _given(lambda folders: dict([*folders.items()][:1])),
    ),
    _fault("renames_folder", "gives a folder under another name", _renamed),
    _fault("gives_other_folder", "gives an empty folder in the place of the one that is granted", _another),
    _fault("swaps_folders", "gives granted folders under the names of others", _given(_values_reversed)),
    _fault(
        "gives_parent_folder",
        "gives the folder above the one that is granted",
        _given(lambda folders: {name: folder.parent for name, folder in folders.items()}),
    ),
    _fault("writes_are_lost", "loses what a guest writes into its folder", _brought_back(_as_given)),
    _fault(
        "brings_nothing_back",
        "does not tell what a guest left in its folder",
        _brought_back(lambda invocation, left: {}),
    ),
    _fault("cuts_files_at_64k", "cuts the files that a guest left after 64 KiB", _brought_back(_cut)),
    _fault(
        "drops_files_below",
        "does not tell what a guest left in folders of its folder",
        _brought_back(_uppermost),
    ),
    _fault("read_only_folder", "gives a folder that cannot be written", _read_only),
    _fault(
        "writes_through",
        "lets a guest write into the granted folder itself, in the place of a copy",
        _written_through,
    ),
    _fault("follows_links_out", "lets a guest read what a link of its own leads to, outside", _read_by_links),
    _fault(
        "creates_by_links_out",
        "lets a guest create the file that a link of its own leads to, outside",
        _created_by_links,
    ),
)
