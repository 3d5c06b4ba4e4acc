"""Our own run of the suite has a corpus more: where hosts are known to differ (portability.toml)."""

from __future__ import annotations

from pathlib import Path

import pytest

_HERE = Path(__file__).parent


def pytest_wasmedge_corpora(config: pytest.Config) -> list[Path]:
    """Add the cases of fixtures/hosts; they are no part of the package, since they would be red everywhere."""
    return [_HERE / "fixtures" / "hosts"] if config.rootpath == _HERE else []
