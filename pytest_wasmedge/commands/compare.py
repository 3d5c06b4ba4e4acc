"""``pytest-wasmedge compare``: compares the cold starts of variants on each runtime."""

from __future__ import annotations

import argparse
import random
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pytest_wasmedge.artifacts import recipe
from pytest_wasmedge.artifacts.loading import load_artifact
from pytest_wasmedge.artifacts.opening import BUILTIN_ARTIFACT, open_artifact
from pytest_wasmedge.commands.console import TERMINATED, Subparsers, complain, open_console, progress_on, show
from pytest_wasmedge.drivers.pool import explain, probe
from pytest_wasmedge.drivers.process import Workspace
from pytest_wasmedge.errors import ArtifactError, LatencyError, RuntimeUnavailableError
from pytest_wasmedge.latency.ablation import Ablation, Variant, lines
from pytest_wasmedge.latency.journal import Journal
from pytest_wasmedge.latency.quiet import Quiet
from pytest_wasmedge.latency.sampling import Sample
from pytest_wasmedge.model import Artifact, Availability, Runtime
from pytest_wasmedge.provision import Progress, build_tools
from pytest_wasmedge.provision.cache import folder
from pytest_wasmedge.provision.files import whole
from pytest_wasmedge.runtimes import builtin_runtimes, groups_of, select

#: The default variants; stdlib is another artifact, not another way to build this one.
COMPARED = tuple(name for name in recipe.variants() if name != "stdlib")


def variant(name: str, progress: Progress, say: Progress) -> Artifact:
    """Return a variant of the built-in artifact, built into the user's cache if missing; ``wizer`` ships.

    Raises ArtifactError and ProvisionError.
    """
    if name == "wizer":
        return open_artifact(BUILTIN_ARTIFACT, Path())
    place = folder("artifacts") / "variants"
    place.mkdir(mode=0o700, exist_ok=True)
    kept = place / f"ruby-worker-{name}-{recipe.fingerprint(name)}.wasm"
    if not kept.exists():
        began_s = time.monotonic()
        with Workspace() as work:
            tools = recipe.Tools(**build_tools(progress))
            built = recipe.build(name, work.path, tools, lambda text: progress(f"{name}: {text}"))
            # It may come from another disk, so it cannot just be renamed.
            with whole(kept) as part:
                shutil.copyfile(built, part)
        say(f"{name}: built in {time.monotonic() - began_s:.0f} s")
    for stale in set(place.glob(f"ruby-worker-{name}-*.wasm")) - {kept}:
        stale.unlink(missing_ok=True)
    return load_artifact(kept)


def entries(specs: Sequence[str], names: Sequence[str], progress: Progress, say: Progress) -> list[Variant]:
    """Return what to compare: each spec is the name of a variant or the path of a file.

    Raises ArtifactError, before anything is built, for a spec that is neither.
    """
    files = {spec: Path(spec) for spec in specs if spec not in names}
    for spec, path in files.items():
        if not path.is_file():
            raise ArtifactError(f"{spec!r} is no file and no variant; variants: {', '.join(names)}.")
    loaded = {spec: load_artifact(path) for spec, path in files.items()}
    found = []
    for spec in specs:
        artifact = loaded.get(spec) or variant(spec, progress, say)
        progress(f"{spec}: compressing")
        found.append(Variant.of(spec, artifact))
    return found


def runtimes_for(spec: str, known: Sequence[Runtime]) -> tuple[list[Runtime], dict[str, Availability]]:
    """Return the selected runtimes that can run here, and the availability of every selected one.

    Raises RuntimeUnavailableError if one that is named cannot run here, or if none of all can.
    """
    by_name = {runtime.name: runtime for runtime in known}
    asked = select(spec, by_name)
    availability = {runtime.name: probe(runtime) for runtime in asked}
    here = [runtime for runtime in asked if availability[runtime.name].available]
    named = groups_of(by_name).keys().isdisjoint(name.strip() for name in spec.split(","))
    if not here or (named and len(here) < len(asked)):
        missing = [explain(runtime, availability[runtime.name]) for runtime in asked if runtime not in here]
        raise RuntimeUnavailableError("cannot run here, but asked for:\n  " + "\n  ".join(missing))
    return here, availability


def writer(
    path: Path | None, seed: int, availability: Mapping[str, Availability]
) -> Callable[[Sample, int, Variant], None]:
    """Return a function that appends a sample to the file, as a JSON line. Raises LatencyError if it cannot."""
    if path is None:
        return lambda sample, number, each: None
    try:
        path.open("a").close()
    except OSError as error:
        raise LatencyError(
            f"--json {path} cannot be written: {error.strerror}; give another file."
        ) from error
    journal = Journal(path, f"compare-{time.strftime('%Y%m%dT%H%M%S')}", seed)

    def write(sample: Sample, number: int, each: Variant) -> None:
        version = availability[sample.runtime].version
        journal.add(sample, runtime_version=version, round=number, variant=each.name)

    return write


def take(ablation: Ablation, rounds: int, progress: Progress) -> None:
    """Check every variant on every runtime, then take the rounds, each while nothing else measures or tests."""
    quiet = Quiet(folder("locks"))
    progress("waiting until nothing else measures")
    with quiet.testing():
        ablation.check(progress)
    for number in range(1, rounds + 1):
        progress(f"round {number} of {rounds}: waiting until nothing else measures or tests")
        with quiet.measuring():
            ablation.take_round(lambda text: progress(f"{text}, of {rounds}"))


def add_to(commands: Subparsers) -> None:
    """Add the parser of this command."""
    parser = commands.add_parser(
        "compare",
        help="compare the cold starts of variants on each runtime",
        description="In every round, start each VARIANT once on each runtime, in random order. Prints size and cold "
        "start of each, and their ratio to the baseline, which is the first one named. Variants that are not in your "
        "cache folder yet are built first, which takes minutes for optimised ones.",
        epilog=f"Variants: {', '.join(recipe.variants())}.",
    )
    parser.add_argument(
        "variants",
        nargs="*",
        metavar="VARIANT",
        help="variants of the built-in artifact, or paths of .wasm files; the first one is the baseline "
        "(default: raw, then every other variant but stdlib)",
    )
    parser.add_argument("--runtimes", default="all", metavar="NAME,…", help="default all that can run here")
    parser.add_argument("--rounds", type=_count, default=20, metavar="N", help="default 20; intervals need 8")
    parser.add_argument("--seed", type=int, metavar="N", help="seed of the random order (default: a new one)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="append the raw samples as JSON lines")
    parser.set_defaults(action=run)


def run(options: argparse.Namespace) -> int:
    """Compare, and return the exit status. Raises WasmEdgeError."""
    console = open_console()
    seed: int = random.SystemRandom().randrange(2**32) if options.seed is None else options.seed
    here, availability = runtimes_for(options.runtimes, builtin_runtimes())
    keep = writer(options.json, seed, availability)
    status = 0
    with progress_on(console) as progress:
        compared = entries(options.variants or COMPARED, recipe.variants(), progress, console.print)
        ablation = Ablation(compared, here, seed, keep)
        try:
            take(ablation, options.rounds, progress)
        except (KeyboardInterrupt, SystemExit) as ending:
            status = 130 if isinstance(ending, KeyboardInterrupt) else TERMINATED
    show(lines(compared, ablation.results(), availability, seed), console)
    if status:
        complain("interrupted; the table shows what was measured until then.")
    return status or (1 if ablation.faults else 0)


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"{count} is too few")
    return count
