"""The cases and programs that one pytest run has to run."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_wasmedge.errors import CorpusError
from pytest_wasmedge.plugin.command_line import Options
from pytest_wasmedge.portability import bundled
from pytest_wasmedge.portability.corpus import Case, load_corpus

if TYPE_CHECKING:
    from pytest_wasmedge.portability.testsuite import Program


class Corpora:
    """The bundled corpus, those that other packages add, and the programs of ``--wasm-corpus``."""

    def __init__(self, options: Options, more: Sequence[Path] = ()) -> None:
        self._options = options
        self._roots = (bundled.corpus(), *more)

    @cached_property
    def cases(self) -> tuple[Case, ...]:
        """All cases of all corpora. Raises CorpusError."""
        return tuple(case for root in self._roots for case in load_corpus(root))

    @cached_property
    def programs(self) -> tuple[Program, ...]:
        """All programs of ``--wasm-corpus``. Raises CorpusError."""
        if not self._options.corpora:
            return ()
        from pytest_wasmedge.portability.testsuite import read_corpus

        found: dict[str, Program] = {}
        for spec in self._options.corpora:
            for program in read_corpus(spec, self._options.started_in):
                if (other := found.setdefault(program.name, program)) is not program:
                    raise CorpusError(
                        f"{other.path} and {program.path} are both called {program.name}. "
                        "Give one --wasm-corpus with the folder above them."
                    )
        return tuple(found.values())
