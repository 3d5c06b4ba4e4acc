"""``pytest-wasmedge pins``: compares each pin with its registry, and moves pins to the newest versions."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import NoReturn

from rich.console import Console

from pytest_wasmedge.commands.console import Subparsers, complain, open_console, progress_on, show, table
from pytest_wasmedge.errors import ProvisionError, did_you_mean
from pytest_wasmedge.provision.moving import move, unwritable
from pytest_wasmedge.provision.pins import digest_of_all, tool_names
from pytest_wasmedge.provision.standing import Standing, ask
from pytest_wasmedge.runtimes import builtin_runtimes


def add_to(commands: Subparsers) -> None:
    """Add the parser of this command."""
    parser = commands.add_parser(
        "pins",
        help="show which pins have newer versions or can no longer be fetched, and move them",
        description="Ask the registries about each pinned tool: its newest version, and whether the pinned one can "
        "still be fetched on every platform that it is pinned for. Fetches no package. The exit status is 1 if "
        "something pinned cannot be fetched, or if a registry cannot be asked.",
        epilog=f"Tools: {', '.join(tool_names())}.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="tools (default: all)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--update", action="store_true", help="write the newest versions into this checkout")
    what.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    what.add_argument(
        "--digest",
        action="store_true",
        help="print the digest of all pins, and ask nobody: a key for a cache of installed tools in CI",
    )
    parser.set_defaults(action=run, usage_error=parser.error)


def run(options: argparse.Namespace) -> int:
    """Show or move the pins, and return the exit status. Raises WasmEdgeError."""
    if options.digest:
        print(digest_of_all())
        return 0
    tools = _known(options.names, options.usage_error) or tool_names()
    console = open_console()
    if options.update:
        return _update(tools, console)
    # With --json, stdout holds nothing but the object.
    with nullcontext(lambda _: None) if options.json else progress_on(console) as progress:
        standings = [ask(tool, progress) for tool in tools]
    if options.json:
        content = [each.as_json() for each in standings]
        fetchable = all(each.fetchable for each in standings)
        print(json.dumps({"pins": content, "fetchable": fetchable}, indent=2))
    else:
        rows = []
        for each in standings:
            behind = any(offer.behind for offer in each.offers)
            style = "red" if not each.fetchable else "yellow" if behind else "green"
            rows.append(((each.tool, each.source, each.pinned, each.newest or "-", each.state), style))
        show(table(("tool", "source", "pinned", "newest", "state"), rows), console)
    return _verdict(standings)


def _known(names: Sequence[str], usage_error: Callable[[str], NoReturn]) -> list[str]:
    """Return these tools, each once. ``usage_error`` ends the program for an unknown name."""
    tools_of = {runtime.name: runtime.tools for runtime in builtin_runtimes()}
    for name in names:
        if name not in tool_names():
            hint = did_you_mean(name, tool_names())
            if tools_of.get(name):
                hint = f" The runtime of that name needs {' and '.join(tools_of[name])}."
            usage_error(f"unknown tool {name!r}.{hint} Known: {', '.join(tool_names())}.")
    return list(dict.fromkeys(names))


def _verdict(standings: Sequence[Standing]) -> int:
    """Print what is wrong and what to do next; return the exit status."""
    gone = [each.tool for each in standings if any(offer.gone for offer in each.offers)]
    unasked = [each.tool for each in standings if any(offer.unasked for offer in each.offers)]
    if gone:
        complain(
            f"what is pinned of {', '.join(gone)} cannot be fetched any more. In a checkout, "
            f"`pytest-wasmedge pins --update {' '.join(gone)}` pins what there is now."
        )
    if unasked:
        complain(
            f"whether all that is pinned of {', '.join(unasked)} can be fetched is not known, because a registry could "
            "not be asked: see the reasons above, then try again."
        )
    return 1 if gone or unasked else 0


def _update(tools: Sequence[str], console: Console) -> int:
    if refusal := unwritable():
        raise ProvisionError(refusal)
    changed: list[str] = []
    failed: list[str] = []
    for tool in tools:
        try:
            with progress_on(console) as progress:
                done = move(ask(tool, progress), progress)
        except ProvisionError as error:
            failed.append(str(error))
            console.print(f"{tool}: left as it was", style="red")
        else:
            changed += [tool] if done.changed else []
            console.print(str(done), style="yellow" if done.changed else "green")
    if changed:
        console.print(
            f"Next: run `pytest-wasmedge install {' '.join(changed)}`, then `make conformance`, and note what changed "
            "in CHANGELOG.md."
        )
    # At the end, where users see them.
    complain(*failed)
    return 1 if failed else 0
