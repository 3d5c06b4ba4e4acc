"""What the commands share to talk to people: a console, progress on a terminal, complaints on stderr."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

from pytest_wasmedge.portability.excerpt import aligned

if TYPE_CHECKING:
    from rich.console import Console

#: What the parsers of the commands are added to.
Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

#: The shell's usual status for SIGTERM.
TERMINATED = 143


def open_console() -> Console:
    """Return a console whose lines stay lines in a file or a pipe."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True)


@contextmanager
def progress_on(console: Console) -> Iterator[Callable[[str], None]]:
    """Show on a terminal what is going on and for how long; elsewhere say nothing until it is done."""
    if not console.is_terminal or console.is_dumb_terminal:
        yield lambda _: None
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=None)
        yield lambda text: bar.update(task, description=text)


def complain(text: str) -> None:
    """Print one complaint on stderr."""
    print(f"pytest-wasmedge: {text}", file=sys.stderr)


def table(rows: Sequence[tuple[Sequence[str], str]]) -> Iterator[tuple[str, str]]:
    """Yield rows of cells as lines, each with its style, in columns as wide as their widest cell."""
    return zip(aligned([cells for cells, _ in rows]), (style for _, style in rows), strict=True)


def print_lines(lines: Iterable[tuple[str, str]], console: Console) -> None:
    """Print each line in its style."""
    for line, style in lines:
        console.print(line, style=style, markup=False)
