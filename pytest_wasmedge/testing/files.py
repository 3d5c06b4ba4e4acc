"""Faults in the folders that a guest is given. No folder of this machine is shown: others stand for them."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from pytest_wasmedge.model import Host, Invocation, Outcome
from pytest_wasmedge.testing.fault import Fault, Invoke, Need, Plant
from pytest_wasmedge.testing.planting import asked

Folders = Mapping[str, Path]
#: What stands for the host's root folder: files that every host has.
_OF_A_ROOT = {
    "etc/passwd": "root:x:0:0::/:/bin/sh\n",
    "etc/hostname": "worker\n",
    "tmp/.keep": "",
    "proc/version": "1\n",
}
_OF_A_PROJECT = {"pyproject.toml": "[project]\n", "package.json": "{}\n", "README.md": "# A project\n"}


def _fault(name: str, sentence: str, plant: Plant, needs: Need | None = "preopens") -> Fault:
    return Fault(name, "files", sentence, plant, ("file", "folder", "preopen", "granted"), needs)


def _given(change: Callable[[Folders], Folders]) -> Plant:
    return asked(lambda each: replace(each, preopens=change(each.preopens)))


def _with_scratch(
    change: Callable[[Folders, Path], Folders], files: Mapping[str, str] | None = None, *, keep: bool = False
) -> Plant:
    """Return a plant that changes the folders, and has one of its own: for each invocation, or kept with ``keep``."""

    def plant(host: Host) -> Invoke:
        kept = _scratch(files) if keep else None

        def invoke(invocation: Invocation) -> Outcome:
            scratch = kept or _scratch(files)
            try:
                return host.invoke(replace(invocation, preopens=change(invocation.preopens, scratch)))
            finally:
                if scratch is not kept:
                    shutil.rmtree(scratch, ignore_errors=True)

        if kept is not None:
            weakref.finalize(invoke, shutil.rmtree, kept, ignore_errors=True)
        return invoke

    return plant


def _scratch(files: Mapping[str, str] | None) -> Path:
    scratch = Path(tempfile.mkdtemp(prefix="pytest-wasmedge-fault-"))
    for name, text in (files or {}).items():
        path = scratch / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return scratch


def _also(guest_path: str) -> Callable[[Folders, Path], Folders]:
    """Return a change that grants one more folder, unless the guest has been given one of this name."""
    return lambda folders, scratch: {guest_path: scratch, **folders}


def _copied(folders: Folders, scratch: Path) -> Folders:
    copies = {}
    for number, (name, folder) in enumerate(folders.items()):
        copies[name] = scratch / str(number)
        shutil.copytree(folder, copies[name], symlinks=True)
    return copies


def _read_only(folders: Folders, scratch: Path) -> Folders:
    copies = _copied(folders, scratch)
    for copy in copies.values():
        for path in (*copy.rglob("*"), copy):
            if not path.is_symlink():
                path.chmod(0o555 if path.is_dir() else 0o444)
    return copies


def _others_folders(folders: Folders) -> Folders:
    return dict(zip(folders, [*folders.values()][::-1], strict=True))


FAULTS = (
    _fault("grants_root", "grants its root folder to every guest", _with_scratch(_also("/"), _OF_A_ROOT)),
    _fault(
        "grants_working_folder",
        "grants its working folder to every guest",
        _with_scratch(_also("."), _OF_A_PROJECT),
    ),
    _fault("grants_tmp", "grants /tmp to every guest", _with_scratch(_also("/tmp"))),
    _fault(
        "grants_etc",
        "grants /etc to every guest",
        _with_scratch(_also("/etc"), {"passwd": "root:x:0:0::/:/bin/sh\n"}),
    ),
    _fault(
        "keeps_a_folder",
        "gives all guests one folder, which is kept from invocation to invocation",
        _with_scratch(_also("/"), keep=True),
    ),
    _fault("gives_no_folder", "does not give the folders that are granted", _given(lambda folders: {})),
    _fault(
        "gives_first_folder",
        "gives the first of the folders that are granted",
        _given(lambda folders: dict([*folders.items()][:1])),
    ),
    _fault(
        "renames_folder",
        "gives a folder under another name",
        _given(lambda folders: {f"/mnt{name}": folder for name, folder in folders.items()}),
    ),
    _fault(
        "gives_other_folder",
        "gives an empty folder in the place of the one that is granted",
        _with_scratch(lambda folders, scratch: dict.fromkeys(folders, scratch)),
    ),
    _fault("swaps_folders", "gives granted folders under the names of others", _given(_others_folders)),
    _fault(
        "gives_parent_folder",
        "gives the folder above the one that is granted",
        _given(lambda folders: {name: folder.parent for name, folder in folders.items()}),
    ),
    _fault(
        "writes_are_lost",
        "gives a copy of a folder, so that what the guest writes is lost",
        _with_scratch(_copied),
    ),
    _fault("read_only_folder", "gives a folder that cannot be written", _with_scratch(_read_only)),
)
