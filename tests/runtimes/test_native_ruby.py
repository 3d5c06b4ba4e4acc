"""The machine's own Ruby as a yardstick: a main program like any other, and no outcome of the artifact."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pytest_wasmedge.errors import HostStartError, RuntimeUnavailableError, UnsupportedError
from pytest_wasmedge.model import Host, Invocation, Limits, exited, host_failed, timed_out
from pytest_wasmedge.runtimes import builtin_runtimes, select
from pytest_wasmedge.runtimes.native_ruby import NativeRuby
from tests import wat
from tests.runtimes.conftest import Start
from tests.waiting import until_gone, with_enough_time


@pytest.fixture
def ruby(start: Start) -> Host:
    """A host that was given an artifact which does nothing."""
    return start("native-ruby", wat.command(""))


def test_it_is_a_yardstick() -> None:
    """It is no part of `all`, has to be named, and says that it runs no artifact."""
    known = {runtime.name: runtime for runtime in builtin_runtimes()}

    assert "native-ruby" not in {runtime.name for runtime in select("all", known)}
    assert [runtime.name for runtime in select("native-ruby", known)] == ["native-ruby"]
    assert "no artifact" in known["native-ruby"].wrapped


def test_outcomes_are_not_the_artifact_s(ruby: Host) -> None:
    """The artifact's bytes have no part in an outcome, so it carries no digest, weighed or not."""
    outcomes = [ruby.run("puts 1+1\n"), ruby.weigh(Invocation(b"puts 1+1\n"))]  # type: ignore[attr-defined]

    assert [outcome.stdout for outcome in outcomes] == [b"2\n"] * 2
    assert [outcome.artifact_sha256 for outcome in outcomes] == [""] * 2
    assert outcomes[0].runtime == "native-ruby"
    assert [outcome.invocation for outcome in outcomes] == [1, 2]


def test_main_program(ruby: Host) -> None:
    """What stands on stdin is a main program called main.rb, as in the artifact, and the rest of stdin is data."""
    outcome = ruby.run("p __FILE__, $0, ARGV, DATA.read\nreturn\n__END__\nrest\n", args=("-x", "größe", ""))

    assert outcome.stdout_text == '"main.rb"\n"main.rb"\n["-x", "größe", ""]\n"rest\\n"\n'
    assert outcome.ending == exited(0)


@pytest.mark.parametrize(
    ("source", "status", "stderr"),
    [
        ("exit 3", 3, ""),
        ("exit 200", 200, ""),
        ("abort 'no more'", 1, "no more\n"),
        ("at_exit { exit 5 }\nraise 'boom'", 5, r"main\.rb:2:in .<main>': boom \(RuntimeError\)\n"),
        ("puts 1+", 1, r"main\.rb:1: syntax error.*|.*main\.rb.*syntax error.*"),
    ],
)
def test_endings(ruby: Host, source: str, status: int, stderr: str) -> None:
    """Statuses up to 255 arrive, errors are on stderr alone, plain, and in the words of a program called main.rb."""
    outcome = ruby.run(source)

    assert outcome.ending == exited(status)
    assert outcome.stdout == b""
    assert re.fullmatch(stderr, outcome.stderr_text, re.DOTALL)
    assert b"\x1b" not in outcome.stderr


def test_a_signal_is_no_status(ruby: Host) -> None:
    """A program that kills itself is no program that exited, and the next one runs."""
    outcome = ruby.run("$stdout.syswrite 'before'; Process.kill(:KILL, $$); sleep")

    assert outcome.ending == host_failed()
    assert outcome.ending.detail == "ruby was ended by signal 9"
    assert outcome.stdout == b"before"
    assert ruby.run("puts 'next'").stdout == b"next\n"


def test_nothing_is_granted(ruby: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment is what the invocation gives, and nothing of ours; its options are no options of Ruby."""
    monkeypatch.setenv("HOST_SECRET", "1")
    shows = "p ENV.to_h, $VERBOSE"

    assert ruby.run(shows).stdout == b"{}\nfalse\n"
    given = ruby.run(shows, env={"RUBYOPT": "-w", "GRÖSSE": "☃=1", "EMPTY": ""})
    assert given.stdout_text.count("=>") + given.stdout_text.count(": ") == 3
    assert given.stdout_text.endswith("}\nfalse\n")


def test_no_gems(ruby: Host) -> None:
    """Neither gems nor what they add to messages are there; text is UTF-8 without a locale."""
    outcome = ruby.run(
        "p defined?(Gem), defined?(DidYouMean), defined?(ErrorHighlight), Encoding.default_external, 'ü'"
    )

    assert outcome.stdout_text == 'nil\nnil\nnil\n#<Encoding:UTF-8>\n"ü"\n'


def test_each_invocation_has_a_folder_of_its_own(ruby: Host) -> None:
    """What one program writes to the folder it is in, the next one does not see, also at once; none is kept."""
    source = "File.write('left.txt', '1'); sleep 0.05; puts Dir.children('.').sort.join(' ')"
    with ThreadPoolExecutor(4) as threads:
        outcomes = list(threads.map(ruby.run, [source] * 8))

    assert {outcome.stdout for outcome in outcomes} == {b"left.txt main.rb\n"}
    assert ruby.run("puts Dir.children('.').join(' ')").stdout == b"main.rb\n"
    place = Path(ruby.run("puts Dir.pwd").stdout_text.strip()).parent
    assert place.is_dir()
    assert [path.name for path in place.iterdir() if not path.name.startswith("scale-")] == []
    ruby.close()
    assert not place.exists()


def test_time_limit(ruby: Host) -> None:
    """A program that does not end is stopped with all that it started."""
    source = "puts fork { sleep }; $stdout.flush; loop {}"
    outcome = with_enough_time(
        lambda timeout_s: ruby.run(source, timeout_s=timeout_s), lambda outcome: outcome.stdout
    )

    assert outcome.ending == timed_out()
    until_gone([int(outcome.stdout)], [])


def test_folders_cannot_be_granted(ruby: Host, tmp_path: Path) -> None:
    """It cannot show a program some folders only, so it says that it cannot give any."""
    with pytest.raises(UnsupportedError, match="native-ruby cannot give folders"):
        ruby.invoke(Invocation(preopens={"/data": tmp_path}))


def test_a_closed_host_says_so(ruby: Host) -> None:
    """A host can be closed twice, and then says that it is closed."""
    ruby.close()
    ruby.close()

    with pytest.raises(HostStartError, match="native-ruby: this host is closed; start another one"):
        ruby.run()


def test_versions_are_the_program_s_own(ruby: Host) -> None:
    """The probe tells the version of the language, and the engine's with its name."""
    availability = ruby.runtime.probe()

    assert availability.version == ruby.run("print RUBY_VERSION").stdout_text
    assert re.fullmatch(r"\w+ \d+\.\d+\.\d+.*", availability.engine_version)


def test_missing_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a ruby command the probe tells how the system gets one, and a start says the same."""
    monkeypatch.setenv("PATH", str(tmp_path))
    availability = NativeRuby().probe()

    assert not availability.available
    assert (availability.reason, availability.install) == ("no ruby command found", "apt install ruby")
    with pytest.raises(
        RuntimeUnavailableError, match="no ruby command found; get it with `apt install ruby`"
    ):
        NativeRuby().start(wat.artifact(tmp_path, wat.ECHO), Limits())


def test_as_reference(pytester: pytest.Pytester) -> None:
    """`--wasm-reference=native-ruby` holds the artifact's outcomes against those of the machine's own Ruby."""
    pytester.makepyfile(
        """
        from pytest_wasmedge.model import Invocation
        from pytest_wasmedge.portability.compare import assert_same

        def check(host, reference, source):
            invocation = Invocation(source.encode())
            assert_same(host.invoke(invocation), reference.of_invocation(invocation))

        def test_same(host, reference):
            check(host, reference, "puts 'größe'.upcase, (1..5).sum; exit 3")

        def test_differs(host, reference):
            check(host, reference, "puts RUBY_PLATFORM")
        """
    )
    result = pytester.runpytest_subprocess("--runtimes=wasmtime", "--wasm-reference=native-ruby")

    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*wasmtime: stdout*wasm32*"])
