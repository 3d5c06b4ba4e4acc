"""What the commands share: a console, progress on a terminal, tables, complaints on stderr."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from pytest_wasmedge.portability.excerpt import aligned

#: What ``add_to`` of each command gets.
Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

#: The shell's usual status for SIGTERM.
TERMINATED = 143


def open_console() -> Console:
    """Return a console that prints text as it is, and does not wrap lines in a file or a pipe."""
    return Console(highlight=False, markup=False, emoji=False, soft_wrap=True)


@contextmanager
def progress_on(console: Console) -> Iterator[Callable[[str], None]]:
    """Yield a function that shows the current step, and its time, on a terminal; elsewhere it does nothing."""
    if not console.is_terminal or console.is_dumb_terminal:
        yield lambda _: None
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=None)
        yield lambda text: bar.update(task, description=text)


def complain(*texts: str) -> None:
    """Print complaints on stderr, each once."""
    for text in dict.fromkeys(texts):
        print(f"pytest-wasmedge: {text}", file=sys.stderr)


def table(head: Sequence[str], rows: Iterable[tuple[Sequence[str], str]]) -> Iterator[tuple[str, str]]:
    """Yield the head in bold and each row in its style, as lines with aligned columns."""
    cells, styles = zip((head, "bold"), *rows, strict=True)
    return zip(aligned(cells), styles, strict=True)


def show(lines: Iterable[tuple[str, str]], console: Console) -> None:
    """Print each line in its style."""
    for line, style in lines:
        console.print(line, style=style)
