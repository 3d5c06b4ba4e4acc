"""What belongs to one pytest run and is made when first asked for. Imported at every pytest start."""

from __future__ import annotations

import errno
import os
import secrets
import sys
import zlib
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

if TYPE_CHECKING:
    from pytest_wasmedge.latency.measurement import Finding, Measurement
    from pytest_wasmedge.latency.quiet import Quiet
    from pytest_wasmedge.plugin.measuring import Measuring
    from pytest_wasmedge.plugin.session import WasmSession

#: What is kept on a test: what it measured and found, the cases that it asked the reference for, other facts for its
#: report, its request, and the runtimes that it ran on.
MEASUREMENTS = pytest.StashKey[list["Measurement"]]()
FINDINGS = pytest.StashKey[list["Finding"]]()
ASKED = pytest.StashKey[set[str]]()
FACTS = pytest.StashKey[dict[str, object]]()
REQUEST = pytest.StashKey[pytest.FixtureRequest]()
RUNTIMES = pytest.StashKey[list[str]]()
#: The test that runs now.
CURRENT = pytest.StashKey[pytest.Item]()
#: What a worker of pytest-xdist gets from the process that started it: exact versions, and what can run here.
VERSIONS, PROMISED = "wasm_versions", "wasm_promised"
_SESSION = pytest.StashKey["WasmSession"]()
_MEASURING = pytest.StashKey["Measuring"]()
_QUIET = pytest.StashKey["Quiet | None"]()


def session(config: pytest.Config) -> WasmSession:
    """Return what the run is about. Raises WasmEdgeError for a remote, or glue of the user's, that is none."""
    if _SESSION not in config.stash:
        from pytest_wasmedge.plugin import command_line, own_glue
        from pytest_wasmedge.plugin.session import WasmSession, remotes
        from pytest_wasmedge.provision.versions import Resolver
        from pytest_wasmedge.runtimes import builtin_runtimes, merge

        read = command_line.read(config.option, config.invocation_params.dir)
        builtin = builtin_runtimes()
        known = {runtime.name: runtime for runtime in builtin}
        more = config.hook.pytest_wasmedge_runtimes(config=config, runtimes=known)
        corpora = config.hook.pytest_wasmedge_corpora(config=config)
        theirs = [runtime for runtimes in more for runtime in runtimes]
        merged = merge(builtin, [*own_glue.runtimes(config.rootpath, builtin), *theirs])
        told = getattr(config, "workerinput", {})
        config.stash[_SESSION] = WasmSession(
            read,
            merged,
            [root for roots in corpora for root in roots],
            contract_in=config.rootpath,
            resolver=Resolver(told.get(VERSIONS), _say),
            edges=remotes(merged, read),
            promised=told.get(PROMISED, ()),
        )
    return config.stash[_SESSION]


def _say(text: str) -> None:
    """Tell what takes long before pytest has a reporter; on stderr, since stdout may be read by a program."""
    sys.stderr.write(f"pytest-wasmedge: {text}\n")


def forget(item: pytest.Item) -> None:
    """Forget what an earlier attempt of this test left, for plugins that run a failed test again."""
    left: Any = (MEASUREMENTS, FINDINGS, ASKED, FACTS)
    for key in left:
        if key in item.stash:
            del item.stash[key]


def add_fact(config: pytest.Config, key: str, value: object) -> None:
    """Add one more value of a fact to the report of the test that runs now."""
    item = config.stash.get(CURRENT, None)
    if item is not None:
        values = item.stash.setdefault(FACTS, {}).setdefault(key, [])
        assert isinstance(values, list)
        values.append(value)


def measuring(config: pytest.Config, refuse: Callable[[object], NoReturn]) -> Measuring:
    """Return what the run measures with; the workers of one run share its name and its seed.

    ``refuse`` is called where a host does not have what is to be measured.
    """
    if _MEASURING not in config.stash:
        from pytest_wasmedge.plugin.measuring import Measuring

        run: str = getattr(config, "workerinput", {}).get("testrunuid", "")[:16] or secrets.token_hex(8)
        seed = session(config).options.seed
        config.stash[_MEASURING] = Measuring(
            session(config),
            run,
            zlib.crc32(run.encode()) if seed is None else seed,
            _samples_folder(config),
            refuse,
        )
    return config.stash[_MEASURING]


def _samples_folder(config: pytest.Config) -> Path | None:
    """Return where samples are kept, in pytest's own cache; None if there is none, or it cannot be written."""
    cache = getattr(config, "cache", None)
    try:
        place = cache.mkdir("wasmedge-samples") if cache else None
        if place is not None and not os.access(place, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return place
    except OSError as error:
        _say(f"raw samples are not kept, pytest's cache folder cannot be written: {error.strerror or error}")
        return None


def quiet(config: pytest.Config) -> Quiet | None:
    """Return the machine's lock between measurements and tests; None where it has no place to lie in."""
    if _QUIET not in config.stash:
        from pytest_wasmedge.errors import ProvisionError
        from pytest_wasmedge.latency.quiet import Quiet
        from pytest_wasmedge.provision.cache import folder

        capture: Any = config.pluginmanager.get_plugin("capturemanager")

        def tell(whom: str) -> None:
            # On stderr, which a worker of pytest-xdist has as well.
            with capture.global_and_fixture_disabled() if capture else nullcontext():
                _say(f"waiting for {whom}")

        try:
            config.stash[_QUIET] = Quiet(folder("locks"), tell, session(config).pools.paused)
        except ProvisionError:
            # Whatever needs the cache folder says so itself, and better.
            config.stash[_QUIET] = None
        except OSError as error:
            # A cache that can only be read: everything in it can be used all the same.
            _say(f"measurements and tests of other runs are not kept apart here: {error.strerror or error}")
            config.stash[_QUIET] = None
    return config.stash[_QUIET]


def close(config: pytest.Config) -> None:
    """Close every host of the run, and let go of the machine."""
    if (held := config.stash.get(_QUIET, None)) is not None:
        held.release()
    if _SESSION in config.stash:
        config.stash[_SESSION].pools.close()
