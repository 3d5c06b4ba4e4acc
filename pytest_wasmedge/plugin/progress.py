"""Shows how far a measurement is, on stderr: a bar on a terminal, elsewhere one line once it has taken long."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any, TextIO

import pytest
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from pytest_wasmedge.latency.gate import Watch, unwatched

#: What takes less is not shown.
LONG_S = 3.0


class MeasuringProgress:
    """Shows one measurement at a time; nothing under ``-q``. Close it with the run."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._stream: TextIO | None = None

    @contextmanager
    def watching(self, title: str, unit: str) -> Iterator[Watch]:
        """Yield what is told, between starts, how far the measurement is; a bar goes when it ends."""
        if self._config.get_verbosity() < 0:
            yield unwatched
            return
        with ExitStack() as shown:
            show: Watch | None = None

            def watch(done: int, of: int, spent_s: float, left_s: float) -> None:
                nonlocal show
                if spent_s >= LONG_S:
                    show = show or self._begin(title, unit, shown)
                    show(done, of, spent_s, left_s)

            yield watch

    def _begin(self, title: str, unit: str, shown: ExitStack) -> Watch:
        console = Console(
            file=self._past_capture(), highlight=False, markup=False, emoji=False, soft_wrap=True
        )
        if not console.is_terminal or console.is_dumb_terminal:
            return _line(console, title, unit)
        # What pytest has printed of its own line stays.
        console.print()
        # Drawn between starts only: a thread that draws would be measured, too.
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
        left = TextColumn("{task.fields[left]}", markup=False)
        bar = Progress(*columns, left, console=console, transient=True, auto_refresh=False)
        shown.enter_context(bar)
        task = bar.add_task(f"measuring {title}", left="")

        def show(done: int, of: int, spent_s: float, left_s: float) -> None:
            bar.update(
                task, completed=done, total=of, left=f"{unit}, at most {left_s:.0f} s more", refresh=True
            )

        return show

    def _past_capture(self) -> TextIO:
        """Return the stderr that pytest's capture replaces while a test runs."""
        if self._stream is None:
            capture: Any = self._config.pluginmanager.get_plugin("capturemanager")
            with capture.global_and_fixture_disabled() if capture else nullcontext():
                try:
                    self._stream = os.fdopen(os.dup(sys.stderr.fileno()), "w", encoding="utf-8")
                except (OSError, ValueError, AttributeError):
                    return sys.stderr  # an object in the place of a file
            self._config.add_cleanup(self._stream.close)
        return self._stream


def _line(console: Console, title: str, unit: str) -> Watch:
    told = False

    def show(done: int, of: int, spent_s: float, left_s: float) -> None:
        nonlocal told
        if not told:
            told = True
            console.print(
                f"pytest-wasmedge: measuring {title}: {done} of {of} {unit}, at most {left_s:.0f} s more"
            )

    return show
