"""The guest contract of the built-in Ruby worker: it behaves as `ruby main.rb` would."""

from __future__ import annotations

import pytest

from pytest_wasmedge.model import Host


def run(host: Host, source: str | bytes) -> tuple[str, str, int | None]:
    """Run a program; return stdout, stderr and exit status, both streams as text."""
    outcome = host.run(source)
    assert outcome.ending.kind == "exited", outcome
    return outcome.stdout_text, outcome.stderr_text, outcome.ending.status


@pytest.mark.parametrize(
    ("source", "status"),
    [
        ("", 0),
        ("exit", 0),
        ("exit 3", 3),
        ("exit 300", 44),
        ("exit false", 1),
        ("exit! 4", 4),
        ("raise SystemExit", 0),
        ("raise SystemExit.new(5, 'unseen')", 5),
        ("[1].each { Fiber.new { exit 7 }.resume }", 7),
        ("begin; exit 2; rescue SystemExit; exit 6; end", 6),
        ("begin; exit 2; ensure; 1 + 1; end", 2),
    ],
)
def test_exit_status(host: Host, source: str, status: int) -> None:
    """The program's own status comes out, wherever it exits, and nothing is printed."""
    assert run(host, source) == ("", "", status)


def test_exit_bang_skips_blocks_and_buffers(host: Host) -> None:
    """`exit!` runs no at_exit block and loses unflushed output, as it does natively."""
    assert run(host, "at_exit { puts 1 }; print 2; exit! 4") == ("", "", 4)


def test_abort(host: Host) -> None:
    """`abort` writes its message to stderr and ends with 1; without one it reports the current exception."""
    assert run(host, "abort 'bye'") == ("", "bye\n", 1)
    assert run(host, "begin; raise 'q'; rescue; abort; end") == (
        "",
        "main.rb:1:in '<main>': q (RuntimeError)\n",
        1,
    )


def test_uncaught_exception(host: Host) -> None:
    """An uncaught exception is reported with the program's frames alone, without colours, and ends with 1."""
    stdout, stderr, status = run(
        host, 'def g(x) = raise(ArgumentError, "no #{x}")\nputs 1\n[1].each { g(_1) }'
    )

    assert (stdout, status) == ("1\n", 1)
    assert stderr.splitlines() == [
        "main.rb:1:in 'Object#g': no 1 (ArgumentError)",
        "\tfrom main.rb:3:in 'block in <main>'",
        "\tfrom main.rb:3:in 'Array#each'",
        "\tfrom main.rb:3:in '<main>'",
    ]


def test_causes_have_no_foreign_frames(host: Host) -> None:
    """Each exception of a cause chain shows the program's frames alone."""
    source = (
        "begin\n begin\n  raise 'a'\n rescue\n  raise TypeError, 'b'\n end\nrescue\n raise KeyError, 'c'\nend"
    )

    assert run(host, source)[1].splitlines() == [
        "main.rb:8:in '<main>': c (KeyError)",
        "main.rb:5:in '<main>': b (TypeError)",
        "main.rb:3:in '<main>': a (RuntimeError)",
    ]


@pytest.mark.parametrize(
    ("expression", "shown"),
    [
        ("caller", "[]"),
        ("caller(0)", "[\"main.rb:2:in '<main>'\"]"),
        ("caller(2)", "nil"),
        ("f { caller }", "[\"main.rb:1:in 'Object#f'\", \"main.rb:2:in '<main>'\"]"),
        ("f { caller(1, 1) }", "[\"main.rb:1:in 'Object#f'\"]"),
        ("f { caller(2..) }", "[\"main.rb:2:in '<main>'\"]"),
        ("f { caller_locations(0).map(&:label) }", '["block in <main>", "Object#f", "<main>"]'),
        ("f { caller_locations(1, 1)[0].lineno }", "1"),
        ("Thread.current.backtrace", "[\"main.rb:2:in 'Thread#backtrace'\", \"main.rb:2:in '<main>'\"]"),
        ("Thread.current.backtrace_locations(1).size", "1"),
        ("Fiber.new { caller }.resume", "[]"),
        ("e.backtrace", "[\"main.rb:2:in '<main>'\"]"),
        ("e.backtrace_locations.map(&:lineno)", "[2]"),
        ("e.backtrace.equal?(e.backtrace)", "true"),
        ("e.full_message(highlight: false).lines", "[\"main.rb:2:in '<main>': e (RuntimeError)\\n\"]"),
        ("RuntimeError.new.backtrace", "nil"),
    ],
)
def test_no_backtrace_shows_the_boot(host: Host, expression: str, shown: str) -> None:
    """Whatever tells the frames tells those of the program, the last one being `<main>`."""
    source = f"def f = yield\nbegin; raise 'e'; rescue => e; end; p(({expression}))"

    assert run(host, source) == (shown + "\n", "", 0)


def test_an_exception_without_backtrace_is_reported(host: Host) -> None:
    """Without a frame the report begins with the program's name."""
    assert run(host, "e = RuntimeError.new('z'); e.set_backtrace([]); raise e")[1] == (
        "main.rb: z (RuntimeError)\n"
    )


def test_the_report_does_not_ask_full_message(host: Host) -> None:
    """`detailed_message` of the program counts, its `full_message` does not, as in a native ruby."""
    source = """class E < StandardError
        def full_message(**) = 'no'
        def detailed_message(**) = 'yes'
      end
      raise E"""

    assert run(host, source)[1] == "main.rb:5:in '<main>': yes\n"


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("throw :x", "uncaught throw :x (UncaughtThrowError)"),
        ("raise Interrupt", "main.rb:1:in '<main>': Interrupt (Interrupt)"),
        ("raise SignalException, 'TERM'", "SIGTERM (SignalException)"),
        ("raise NoMemoryError", "NoMemoryError (NoMemoryError)"),
        ("raise ''", "main.rb:1:in '<main>': unhandled exception"),
        ("def f(n) = f(n + 1)\nf(0)", "stack level too deep (SystemStackError)"),
        (
            "def (o = Object.new).write(*) = raise\n$stderr = o; raise 'told anyway'",
            "told anyway (RuntimeError)",
        ),
        ("class String; def end_with?(*) = raise('no'); end; raise 'broken core'", "unhandled exception"),
    ],
)
def test_other_ends_by_exception(host: Host, source: str, text: str) -> None:
    """Whatever reaches the top is reported on stderr, and the status is 1."""
    stdout, stderr, status = run(host, source)

    assert (stdout, status) == ("", 1)
    assert text in stderr


def test_at_exit_runs_in_reverse_order(host: Host) -> None:
    """Blocks run last one first; one registered by a block runs next; `END` and `trap EXIT` take part."""
    source = """
        at_exit { puts "first" }
        END { puts "END" }
        trap("EXIT") { puts "trap" }
        at_exit { puts "last"; at_exit { puts "nested" } }
        puts "main"
    """

    assert run(host, source) == ("main\ntrap\nlast\nnested\nEND\nfirst\n", "", 0)


def test_at_exit_runs_before_the_report(host: Host) -> None:
    """After an uncaught exception the blocks see it in `$!`; then it is reported."""
    assert run(host, "at_exit { p $!, caller }\nraise 'boom'") == (
        "#<RuntimeError: boom>\n[]\n",
        "main.rb:2:in '<main>': boom (RuntimeError)\n",
        1,
    )


@pytest.mark.parametrize(
    ("source", "status", "reported"),
    [
        ("at_exit { exit 5 }; raise 'boom'", 5, ["boom"]),
        ("at_exit { p $!.status; exit 9 }; exit 3", 9, []),
        ("at_exit { raise 'late' }", 1, ["late"]),
        ("at_exit { raise 'late' }; exit 3", 1, ["late"]),
        ("at_exit { exit! 3 }; raise 'boom'", 3, []),
        ("at_exit { abort 'bye' }", 1, ["bye"]),
    ],
)
def test_at_exit_decides_the_status(host: Host, source: str, status: int, reported: list[str]) -> None:
    """What a block raises is reported and decides the status; `exit` in it does so silently."""
    _, stderr, ended = run(host, source)

    assert ended == status
    assert [word for word in ("late", "boom", "bye") if word in stderr] == reported


def test_at_exit_without_a_block(host: Host) -> None:
    """The error reads as CRuby's own."""
    assert run(host, "at_exit")[1].splitlines()[0] == (
        "main.rb:1:in 'Kernel#at_exit': called without block (ArgumentError)"
    )


def test_top_level_return_ends_the_program(host: Host) -> None:
    """`return` at the top level is an ordinary end: blocks run, output is flushed."""
    assert run(host, "at_exit { puts 2 }\nputs 1\nreturn\nputs 3") == ("1\n2\n", "", 0)


NESTED = "p(/(?:a+)+$/ =~ 'a')"
NESTED_WARNING = "warning: regular expression has redundant nested repeat operator '+': /(?:a+)+$/\n"


@pytest.mark.parametrize(
    ("source", "stderr"),
    [
        (NESTED, f"main.rb:1: {NESTED_WARNING}"),
        (f"x = <<A\n__END__\nA\n{NESTED}", f"main.rb:4: {NESTED_WARNING}"),
        (f"{NESTED}\n__END__\nx", f"main.rb:1: {NESTED_WARNING}"),
        (f"at_exit {{ }}\n{NESTED}; return", f"main.rb:2: {NESTED_WARNING}"),
        ("return 1", "main.rb: warning: argument of top-level return is ignored\n"),
        ("return 1\n__END__\n", "main.rb: warning: argument of top-level return is ignored\n"),
    ],
)
def test_the_compiler_warns_once_and_names_the_program(host: Host, source: str, stderr: str) -> None:
    """However often the boot compiles and loads a program, its warnings come once, without the boot's name."""
    assert run(host, source)[1:] == (stderr, 0)


def test_nothing_is_left_of_how_warnings_are_read(host: Host) -> None:
    """The program sees `Warning` and `$VERBOSE` as they are natively."""
    source = "p Warning.singleton_class.instance_methods(false), Warning.method(:warn).owner, $VERBOSE"

    assert run(host, source) == ("[:categories, :[], :[]=]\nWarning\nfalse\n", "", 0)


def test_a_deadlock_is_reported_without_the_boot(host: Host) -> None:
    """CRuby lists all frames of a thread itself."""
    _, stderr, status = run(host, "Queue.new.pop")

    assert (stderr.splitlines()[0], status) == (
        "main.rb:1:in 'Thread::Queue#pop': No live threads left. Deadlock? (fatal)",
        1,
    )
    assert "internal" not in stderr


def test_a_level_that_is_no_number(host: Host) -> None:
    """`caller` refuses it in CRuby's words."""
    assert run(host, "caller('x')")[1] == (
        "main.rb:1:in 'Kernel#caller': no implicit conversion of String into Integer (TypeError)\n"
        "\tfrom main.rb:1:in '<main>'\n"
    )


def test_the_program_is_the_main_program(host: Host) -> None:
    """Names, self and scope are those of a main program; nothing of the boot can be seen."""
    source = """
        p __FILE__ == $0, __FILE__, $PROGRAM_NAME, __dir__, __LINE__
        p self, self.class, singleton_methods.sort, Module.nesting
        def helper = 1
        p Object.private_method_defined?(:helper), local_variables, TOPLEVEL_BINDING.local_variables
        p Object.constants.grep(/work|boot/i), global_variables.grep(/work|boot/i)
        p RubyVM::InstructionSequence.of(proc {}).label, (class Object; caller_locations(0)[0].label; end)
    """

    assert run(host, source)[0].splitlines() == [
        *("true", '"main.rb"', '"main.rb"', '"/"', "2"),
        *("main", "Object", "[:inspect, :to_s]", "[]"),
        *("true", "[]", "[]"),
        *("[]", "[]"),
        *('"block in <main>"', '"<class:Object>"'),
    ]


def test_encodings_are_utf8(host: Host) -> None:
    """Source, default external and file system encoding are UTF-8; there is no default internal one."""
    source = """puts "héllo ☃"
        p __ENCODING__, "é".encoding, Encoding.default_external, Encoding.default_internal, "ä"
    """

    assert run(host, source)[0].splitlines() == [
        "héllo ☃",
        *["#<Encoding:UTF-8>"] * 3,
        "nil",
        '"ä"',
    ]


@pytest.mark.parametrize(
    ("source", "stdout"),
    [
        (b"# encoding: iso-8859-1\np '\xe9'.encoding, '\xe9'.bytes", b"#<Encoding:ISO-8859-1>\n[233]\n"),
        (b"# frozen_string_literal: true\np 'a'.frozen?", b"true\n"),
        (b"\xef\xbb\xbfputs 1", b"1\n"),
        (b"puts 1\r\nputs 2\r\n", b"1\n2\n"),
        (b"#!/usr/bin/env ruby\nputs 1", b"1\n"),
        (b"puts 2\nBEGIN { puts 1 }", b"1\n2\n"),
        (b"$stdout.binmode; $stdout.write((0..255).to_a.pack('C*'))", bytes(range(256))),
        (b"p $stdin.read, $stdin.eof?, gets, STDIN.lineno", b'""\ntrue\nnil\n0\n'),
        (b"p STDIN.tty?, STDOUT.tty?, STDERR.tty?", b"false\nfalse\nfalse\n"),
        (b"$stdout.close", b""),
    ],
)
def test_source_and_streams(host: Host, source: bytes, stdout: bytes) -> None:
    """Magic comments, a byte order mark, line ends, binary output and the empty stdin work as natively."""
    outcome = host.run(source)

    assert (outcome.stdout, outcome.stderr) == (stdout, b"")
    assert outcome.ending.ok


@pytest.mark.parametrize(
    "source",
    [
        "p 1.5, -0.0, 1e300, 3r, 2i, 2.5ri, 10**30, 123456789012345678901234567890, nil, true",
        "p :a, :'b c', :é, %i[x y], 'é', \"\\xff\", \"\\u3042\", ?a",
        "p '<compiled>', 'block in <compiled>', /<compiled>/, :'core#set_postexe'",
        "p 1..2, (1...), ('a'..'c'), [1, [2]], {a: 1, 'b' => [2]}, /a#{1}b/oi, %w[a b], __method__.inspect",
        "case {a: [1, {b: 2}]}\nin {a: [Integer => x, {b:}]} if x < b\n p x, b\nend",
        "def f(a, b = 2, *c, d:, e: 5, **g, &h) = [a, b, c, d, e, g, h&.call]\n"
        "p f(1, d: 4), f(1, 2, 3, d: 4, z: 1) { 6 }",
        "p (1..9).select { |i| true if (i == 3)..(i == 5) }, [3, 1].sort_by { -_1 }, [1].map { it + 1 }",
        "x = begin; Integer('z'); rescue ArgumentError; 1; else; 2; ensure; 3; end; p x\n"
        "while x < 3; x += 1; next if x == 2; end; p x",
        "class A; C = 1; @@v = 2; def self.v = @@v; end; p A::C, A.v\n"
        "module M; refine(Integer) { def z = 7 }; end; using M; p 1.z",
    ],
)
def test_literals_survive_the_relabelling(host: Host, source: str) -> None:
    """The program compiled under the name `<main>` computes what `eval` of the same text computes."""
    direct = run(host, source)
    evaluated = run(host, f"eval(DATA.read.force_encoding('UTF-8'))\n__END__\n{source}")

    assert direct == evaluated
    assert direct[2] == 0


def test_data_is_what_follows_the_end_marker(host: Host) -> None:
    """DATA reads what stands after `__END__`; a marker in a heredoc or a comment is none."""
    source = (
        "x = <<A\n__END__\nA\np x\np DATA.gets, DATA.read.size\n=begin\n__END__\n=end\n__END__\none é\n"
        + "x" * 100_000
    )

    assert run(host, source) == ('"__END__\\n"\n"one é\\n"\n100000\n', "", 0)
    assert run(host, "p defined?(DATA)") == ("nil\n", "", 0)


def test_syntax_errors_read_as_natively(host: Host) -> None:
    """A SyntaxError shows file, line and excerpt, without a frame, and nothing of the program has run."""
    stdout, stderr, status = run(host, "puts 1\nputs (1..5\n")

    assert (stdout, status) == ("", 1)
    assert stderr.startswith("main.rb: main.rb:2: syntax errors found (SyntaxError)\n")
    assert "> 2 | puts (1..5" in stderr
    assert "from" not in stderr
    assert "eval" not in stderr


def test_syntax_errors_after_data(host: Host) -> None:
    """A program that is wrong before `__END__` is reported as the whole of it."""
    assert run(host, "puts (\n__END__\nx")[1].startswith("main.rb: main.rb:")


def test_arguments_and_environment_are_those_of_the_invocation(host: Host) -> None:
    """Although Ruby was started at build time, ARGV and ENV are this invocation's, and nothing else's."""
    given = host.run("p ARGV, ENV.to_h, $VERBOSE", args=["a b", "", "é"], env={"A": "x=y", "RUBYOPT": "-w"})
    nothing = host.run("p ARGV, ENV.to_h, $VERBOSE")

    assert given.stdout_text == '["a b", "", "é"]\n{"A" => "x=y", "RUBYOPT" => "-w"}\nfalse\n'
    assert nothing.stdout_text == "[]\n{}\nfalse\n"


@pytest.mark.parametrize(
    "expression", ["rand", "Random.new_seed", "Random.urandom(8)", "Random.seed", "[*1..99].shuffle"]
)
def test_random_numbers_are_fresh(host: Host, expression: str) -> None:
    """The constants that stand for random numbers at build time are never seen at run time."""
    assert len({run(host, f"p({expression})")[0] for _ in range(3)}) == 3


def test_the_clock_is_the_hosts(host: Host) -> None:
    """The constant that stands for the time at build time is never seen at run time."""
    assert run(host, "p Time.now.year >= 2025") == ("true\n", "", 0)


def test_many_exceptions_do_not_trap(host: Host) -> None:
    """300,000 raises and rescues end as ordinarily as one."""
    assert run(host, "300_000.times { begin; raise 'x'; rescue; end }; puts 'ok'") == ("ok\n", "", 0)


def test_stack_overflow_can_be_rescued(host: Host) -> None:
    """A SystemStackError is an exception like others, also while other exceptions are handled."""
    source = """
        def f(n)
          begin
            raise "x"
          rescue
            f(n + 1)
          end
        end
        begin
          f(0)
        rescue SystemStackError => error
          puts error.message, error.backtrace.last
        end
    """

    assert run(host, source) == ("stack level too deep\nmain.rb:10:in '<main>'\n", "", 0)


@pytest.mark.parametrize(
    ("source", "stdout"),
    [
        ("1.times { " * 60 + "p 1" + " }" * 60, "1"),
        ("def f(n) = n == 0 ? GC.start : [n].each { f(_1 - 1) }\nf(120); p 1", "1"),
        ("a = []; 200.times { a = [a] }; p a.inspect.size, a.flatten", "402\n[]"),
        (
            "def f(n) = n == 0 ? raise('x') : [2, 1].sort_by { f(n - 1) }\nputs((f(100) rescue $!.message))",
            "x",
        ),
        ("def f(n) = n == 0 ? 0 : [n].each { |x| return f(x - 1) }\np((f(120) rescue $!))", "0"),
        ("a = [1]; 200.times { a = [a] }; p a.join", '"1"'),
    ],
)
def test_what_is_deep_is_saved_whole(host: Host, source: str, stdout: str) -> None:
    """Collections, exceptions and compilers work at depths whose stack is larger than CRuby's buffers for it."""
    assert run(host, source) == (stdout + "\n", "", 0)


def test_deep_fibers_keep_their_stacks(host: Host) -> None:
    """Each of many fibers that wait at a depth goes on where it was, several times."""
    source = """
        def f(n, id) = n == 0 ? (Fiber.yield; Fiber.yield; id) : [id].sort_by { |x| x }.map { |x| x + f(n - 1, id) }[0]
        GC.disable
        fibers = Array.new(20) { |id| Fiber.new { f(40 + id, id.to_s) } }
        2.times { fibers.each(&:resume) }
        p fibers.map(&:resume) == Array.new(20) { |id| id.to_s * (41 + id) }
    """

    assert run(host, source) == ("true\n", "", 0)
