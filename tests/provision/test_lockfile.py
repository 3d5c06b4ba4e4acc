"""Lock files without some of their packages: what goes with them, and what stays as deno has written it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_wasmedge.provision import pins
from pytest_wasmedge.provision.lockfile import integrities, pruned

LOCKED = [name for name in pins.tool_names() if pins.pin(name).lock]


def lock(packages: dict[str, dict[str, Any]]) -> str:
    """Return a lock file of ``root`` 1.0.0 and these packages, each with an integrity."""
    npm = {key: {"integrity": f"sha512-{key}", **package} for key, package in packages.items()}
    specifiers = {"npm:@us/root@^1": "1.0.0"}
    return json.dumps({"version": "5", "specifiers": specifiers, "npm": npm}, indent=2) + "\n"


def test_what_only_they_needed_goes_too() -> None:
    """What is reached without the removed package stays: by a version, with peers, in a circle. No address does."""
    text = lock(
        {
            "@us/root@1.0.0": {
                "dependencies": ["heavy", "light@2.0.0", "peered@1.0.0_light@2.0.0"],
                "bin": True,
            },
            "heavy@3.0.0": {"dependencies": ["only", "shared"], "optionalDependencies": ["@img/native"]},
            "@img/native@1.0.0": {"os": ["linux"]},
            "light@1.0.0": {},
            "light@2.0.0": {"dependencies": ["shared"], "tarball": "where/it/came/from.tgz"},
            "only@1.0.0": {"dependencies": ["light@1.0.0"]},
            "peered@1.0.0_light@2.0.0": {"dependencies": ["light@2.0.0"], "optionalPeers": ["heavy"]},
            "shared@1.0.0": {"optionalDependencies": ["shared-too"]},
            "shared-too@1.0.0": {"dependencies": ["shared", "heavy@3.0.0"]},
        }
    )

    left = json.loads(pruned(text, ["heavy"]))

    assert left["npm"] == {
        "@us/root@1.0.0": {
            "integrity": "sha512-@us/root@1.0.0",
            "dependencies": ["light@2.0.0", "peered@1.0.0_light@2.0.0"],
            "bin": True,
        },
        "light@2.0.0": {"integrity": "sha512-light@2.0.0", "dependencies": ["shared"]},
        "peered@1.0.0_light@2.0.0": {
            "integrity": "sha512-peered@1.0.0_light@2.0.0",
            "dependencies": ["light@2.0.0"],
        },
        "shared@1.0.0": {"integrity": "sha512-shared@1.0.0", "optionalDependencies": ["shared-too"]},
        "shared-too@1.0.0": {"integrity": "sha512-shared-too@1.0.0", "dependencies": ["shared"]},
    }
    assert left["specifiers"] == json.loads(text)["specifiers"]


@pytest.mark.parametrize("name", LOCKED)
def test_what_stays_looks_as_it_did(name: str) -> None:
    """Our lock files hold nothing more to remove, and are written again byte for byte: a move is a small diff."""
    path = pins.pin(name).lock
    assert path is not None
    text = path.read_bytes().decode()

    assert pruned(text, ["no-such-package"]) == text
    assert pruned(text, pins.without(name)) == text


def test_name_and_version_of_each() -> None:
    """A key is a name, which may have a scope, and a version; peers behind it are not of the version."""
    text = lock({"@us/a@1.0.0-beta.1": {}, "b_c@2.0.0_@us+a@1.0.0_d@3": {}})

    assert list(integrities(text)) == [("@us/a", "1.0.0-beta.1"), ("b_c", "2.0.0")]
