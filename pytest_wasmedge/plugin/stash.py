"""Objects of one pytest run, each made when first asked for. Imported at every pytest start, so kept light."""

from __future__ import annotations

import errno
import os
import secrets
import sys
import zlib
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

if TYPE_CHECKING:
    from pytest_wasmedge.latency.measurement import Finding, Measurement
    from pytest_wasmedge.latency.quiet import Quiet
    from pytest_wasmedge.plugin.machines import Machines
    from pytest_wasmedge.plugin.measuring import Measuring
    from pytest_wasmedge.plugin.rounds import Rounds
    from pytest_wasmedge.plugin.session import WasmSession

#: The name of the plugin that fills the record.
RECORDER = "wasmedge-recorder"
#: Kept on each test: its measurements and findings, the cases that it asked the reference for, other facts for its
#: report, its request, the runtimes that it ran on, and the line of its failure, if not the error's own.
MEASUREMENTS = pytest.StashKey[list["Measurement"]]()
FINDINGS = pytest.StashKey[list["Finding"]]()
ASKED = pytest.StashKey[dict[str, bool]]()
FACTS = pytest.StashKey[dict[str, Any]]()
REQUEST = pytest.StashKey[pytest.FixtureRequest]()
RUNTIMES = pytest.StashKey[list[str]]()
HEADLINE = pytest.StashKey[str]()
#: The test that runs now.
CURRENT = pytest.StashKey[pytest.Item]()
#: What a worker of pytest-xdist gets from its controller: exact versions, and the runtimes that can run here.
VERSIONS, PROMISED, WORKER_PARTS = "wasm_versions", "wasm_promised", "wasm_parts"
#: In a run on several machines: what a worker on another one gets to reach its controller, empty for those of this one.
ELSEWHERE = "wasm_elsewhere"
_MACHINES = pytest.StashKey["Machines | None"]()
#: What hands out the tests to workers, if it is ours.
SCHEDULING = pytest.StashKey[Any]()
#: The files of the bundled suite that were added to what is collected; empty if all were.
PARTS = pytest.StashKey[list[str]]()
#: What the samples of this run are drawn by; a worker gets it from its controller.
SEED = "wasm_seed"
_SEED = pytest.StashKey[int]()
_SESSION = pytest.StashKey["WasmSession"]()
_MEASURING = pytest.StashKey["Measuring"]()
_ROUNDS = pytest.StashKey["Rounds"]()
_QUIET = pytest.StashKey["Quiet | None"]()


def session(config: pytest.Config) -> WasmSession:
    """Return the session of this run. Raises WasmEdgeError for a wrong `--wasm-remote` or wrong glue of the project."""
    if _SESSION not in config.stash:
        from pytest_wasmedge.drivers.compiled import announce_by
        from pytest_wasmedge.plugin import options, own_glue, project
        from pytest_wasmedge.plugin.session import WasmSession
        from pytest_wasmedge.provision.versions import Resolver
        from pytest_wasmedge.runtimes import builtin_runtimes, merge

        given = options.read(config.option, config.invocation_params.dir)
        builtin = builtin_runtimes()
        known = {runtime.name: runtime for runtime in builtin}
        more = config.hook.pytest_wasmedge_runtimes(config=config, runtimes=known)
        added = [runtime for runtimes in more for runtime in runtimes]
        place = project.find(given.started_in, config.rootpath)
        merged = merge(builtin, [*own_glue.runtimes(place, builtin), *added])
        edges = []
        if given.remote:
            from pytest_wasmedge.runtimes.remote import DEFAULT_HEADER, remotes

            header = given.remote_header or DEFAULT_HEADER
            edges = remotes(given.remote, invocation_header=header, taken=merged)
        ours = project.read(place)
        where, from_controller = "", getattr(config, "workerinput", {})
        if sent := from_controller.get(ELSEWHERE):
            from pytest_wasmedge.plugin import elsewhere

            where, given = elsewhere.name(), elsewhere.arrived(given, sent, config.rootpath)
        config.stash[_SESSION] = WasmSession(
            given,
            merged,
            [root for roots in config.hook.pytest_wasmedge_corpora(config=config) for root in roots],
            # A worker elsewhere has the contract of its controller, or none.
            contract_in=None if sent else place,
            resolver=Resolver(from_controller.get(VERSIONS), partial(_say, config)),
            edges=edges,
            promised=from_controller.get(PROMISED, ()),
            project=ours,
            where=where,
            machines=ELSEWHERE in from_controller or on_machines(config),
        )
        announce_by(partial(_say, config) if config.get_verbosity() >= 0 else None)
    return config.stash[_SESSION]


def on_machines(config: pytest.Config) -> bool:
    """Return whether pytest-xdist is asked for workers on other machines."""
    option = config.option
    if getattr(option, "dist", "no") == "no" or all(each == "popen" for each in option.tx):
        return False
    from execnet import XSpec
    from xdist.workermanage import parse_tx_spec_config  # type: ignore[import-untyped]

    return not all(XSpec(each).popen for each in parse_tx_spec_config(config))


def machines(config: pytest.Config) -> Machines | None:
    """Return the machines of this run; None if it has only this one, or is itself a worker."""
    if _MACHINES not in config.stash:
        config.stash[_MACHINES] = None
        if not hasattr(config, "workerinput") and on_machines(config):
            from pytest_wasmedge.plugin.machines import Machines

            recorder = config.pluginmanager.getplugin(RECORDER)
            config.stash[_MACHINES] = Machines(session(config), config.rootpath, recorder.begin)
    return config.stash[_MACHINES]


def _say(config: pytest.Config, text: str) -> None:
    """Write to stderr at once, past pytest's capture; not to stdout, which a program may read."""
    capture: Any = config.pluginmanager.get_plugin("capturemanager")
    with capture.global_and_fixture_disabled() if capture else nullcontext():
        sys.stderr.write(f"pytest-wasmedge: {text}\n")


def forget(item: pytest.Item) -> None:
    """Forget an earlier attempt of this test: other plugins run a failed test again."""
    keys: Any = (MEASUREMENTS, FINDINGS, ASKED, FACTS)
    for key in keys:
        if key in item.stash:
            del item.stash[key]


def add_fact(config: pytest.Config, key: str, value: object) -> None:
    """Add one more value of a fact to the report of the running test."""
    item = config.stash.get(CURRENT, None)
    if item is not None:
        item.stash.setdefault(FACTS, {}).setdefault(key, []).append(value)


def measuring(config: pytest.Config, refuse: Callable[[object], NoReturn]) -> Measuring:
    """Return the maker of this run's measurements; the workers of one run share its name and its seed.

    ``refuse`` is called with the error of a host that has no such measurement.
    """
    if _MEASURING not in config.stash:
        from pytest_wasmedge.plugin.measuring import Measuring
        from pytest_wasmedge.plugin.progress import MeasuringProgress

        run: str = getattr(config, "workerinput", {}).get("testrunuid", "")[:16] or secrets.token_hex(8)
        place = _samples_folder(config)
        config.stash[_MEASURING] = Measuring(
            session(config), run, seed(config), place, refuse, MeasuringProgress(config).watching
        )
    return config.stash[_MEASURING]


def rounds(config: pytest.Config, refuse: Callable[[object], NoReturn]) -> Rounds:
    """Return what compares with the baseline on all runtimes of this run; ``refuse`` as for `measuring`."""
    if _ROUNDS not in config.stash:
        from pytest_wasmedge.plugin.rounds import Rounds, shared_file

        given = getattr(config, "workerinput", {})
        run = given.get("testrunuid", "")
        # On another machine one worker measures, and our parent is none of ours.
        file = shared_file(os.getppid()) if run and not given.get(ELSEWHERE) else None
        config.stash[_ROUNDS] = Rounds(session(config), measuring(config, refuse), run, file)
    return config.stash[_ROUNDS]


def seed(config: pytest.Config) -> int:
    """Return the seed of this run: that of the command line, else one that all its processes share."""
    if _SEED not in config.stash:
        given, shared = session(config).options.seed, getattr(config, "workerinput", {})
        if given is None:
            # A controller that was asked for nothing of ours has sent no seed, but the name of the run.
            named = shared.get("testrunuid", "") or secrets.token_hex(8)
            given = shared.get(SEED, zlib.crc32(named.encode()))
        config.stash[_SEED] = given
    return config.stash[_SEED]


def _samples_folder(config: pytest.Config) -> Path | None:
    """Return the folder of samples in pytest's own cache; None if pytest has no cache or cannot write to it."""
    cache = getattr(config, "cache", None)
    try:
        place = cache.mkdir("wasmedge-samples") if cache else None
        if place is not None and not os.access(place, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return place
    except OSError as error:
        reason = error.strerror or error
        _say(config, f"raw samples are not kept, pytest's cache folder cannot be written: {reason}")
        return None


def quiet(config: pytest.Config) -> Quiet | None:
    """Return the lock that keeps measurements and tests apart; None if its file cannot be made."""
    if _QUIET not in config.stash:
        from pytest_wasmedge.errors import ProvisionError
        from pytest_wasmedge.latency.quiet import Quiet
        from pytest_wasmedge.provision.cache import folder

        pause = session(config).paused
        config.stash[_QUIET] = None
        try:
            run = zlib.crc32(getattr(config, "workerinput", {}).get("testrunuid", "").encode())
            config.stash[_QUIET] = Quiet(
                folder("locks"), lambda of: _say(config, f"waiting for {of}"), pause, run
            )
        except ProvisionError:
            pass  # whatever else needs the cache folder reports this, with more detail
        except OSError as error:
            # A read-only cache: all that is in it can still be used.
            reason = error.strerror or error
            _say(config, f"measurements and tests of other runs are not kept apart here: {reason}")
    return config.stash[_QUIET]


def close(config: pytest.Config) -> None:
    """Close every host of the run, and release the lock."""
    if (held := config.stash.get(_QUIET, None)) is not None:
        held.release()
    if _SESSION in config.stash:
        if not hasattr(config, "workerinput") and config.stash[_SESSION].options.against:
            from pytest_wasmedge.plugin.rounds import forget

            forget(os.getpid())
        from pytest_wasmedge.drivers.compiled import announce_by

        announce_by(None)
        config.stash[_SESSION].close()
