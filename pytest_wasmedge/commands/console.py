"""What the commands share to talk to people: a console, progress on a terminal, complaints on stderr."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

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


def print_table(rows: Sequence[tuple[Sequence[str], str]], console: Console) -> None:
    """Print rows of cells, each row in its style, in columns as wide as their widest cell; the last is not padded."""
    columns = max(len(cells) for cells, _ in rows) - 1
    widths = [max(len(cells[column]) for cells, _ in rows) for column in range(columns)]
    for cells, style in rows:
        padded = [cell.ljust(width) for cell, width in zip(cells, (*widths, 0), strict=True)]
        console.print("  ".join(padded).rstrip(), style=style, markup=False)
