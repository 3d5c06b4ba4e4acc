"""A guest is granted what the invocation grants, and that is nothing unless it asks."""

from __future__ import annotations

import pytest

from pytest_wasmedge.model import Host, exited
from pytest_wasmedge.portability.leaks import assert_no_leaks

# Each expression is a thing that a guest must not be able to do; it has to raise.
DENIED = {
    "read_file": "File.read('/etc/passwd')",
    "read_relative": "File.read('pyproject.toml')",
    "list_root": "Dir.children('/')",
    "list_here": "Dir.children('.')",
    "write_file": "File.write('/tmp/pytest-wasmedge-guest', 'x')",
    "make_folder": "Dir.mkdir('pytest-wasmedge-guest')",
    "system": "system('exit 3') == false or raise('nothing was run')",
    "backtick": "`ls`",
    "fork": "fork",
    "popen": "IO.popen('ls')",
    "socket": "require 'socket'; TCPSocket.new('127.0.0.1', 80)",
}


def test_no_environment(ruby: Host) -> None:
    """Without env, the guest's environment is empty: nothing of the host's comes through."""
    outcome = ruby.run("p ENV.to_h\n")

    assert outcome.stdout == b"{}\n"


def test_no_arguments(ruby: Host) -> None:
    """Without args, ARGV is empty."""
    outcome = ruby.run("p ARGV\n")

    assert outcome.stdout == b"[]\n"


@pytest.mark.parametrize("name", DENIED)
def test_denied(ruby: Host, name: str) -> None:
    """Files, folders, processes and sockets of the host are out of reach; trying is an ordinary error."""
    source = (
        f"begin\n  {DENIED[name]}\n  puts 'GRANTED'\n"
        "rescue Exception => e\n  puts 'denied'\n  warn e.message\nend\n"
    )
    outcome = ruby.run(source)

    assert outcome.stdout == b"denied\n"
    assert outcome.ending == exited(0)
    assert_no_leaks(outcome, source.encode())
