# The guest's half of the Ruby worker: it makes whatever stands on stdin the main program.
#
# Compiled under the name "<internal:worker>" and evaluated once, before the snapshot is taken. CRuby shows
# frames of such files as if they were C functions, and of several in a row only one; so all that a program
# could see of the boot is the last line of each backtrace, `run_as_main`, and `trim` takes that off.
# The value of this script is the worker. It leaves no constant, global or local variable behind.

worker = Object.new

# Constants of the worker's singleton class: only the methods written below can see them.
class << worker
  WORKER = self.attached_object
  AT_EXIT_BLOCKS = []
  FULL_MESSAGE = ::Exception.instance_method(:full_message)
  BACKTRACE = ::Exception.instance_method(:backtrace)
  BACKTRACE_LOCATIONS = ::Exception.instance_method(:backtrace_locations)
  CALLER = ::Kernel.instance_method(:caller)
  CALLER_LOCATIONS = ::Kernel.instance_method(:caller_locations)
  THREAD_BACKTRACE = ::Thread.instance_method(:backtrace)
  THREAD_BACKTRACE_LOCATIONS = ::Thread.instance_method(:backtrace_locations)

  # == Backtraces without the boot's frame

  # Takes the boot's frame off an array of lines or locations, in place, so that the arrays that CRuby
  # keeps per exception stay the same objects. Nil stays nil.
  def trim(frames)
    last = frames&.last
    return frames if last.nil? || frames.frozen?

    label = last.is_a?(::Thread::Backtrace::Location) ? last.label : last
    frames.pop if label.is_a?(::String) && label.end_with?("run_as_main", "run_as_main'")
    frames
  rescue ::StandardError
    frames # a program that breaks String or Array sees the boot's frame
  end

  # Answers for `caller` and its kin, where `frames` begin with the frame of the method that asks.
  def select(frames, start, length)
    return frames[start] if start.is_a?(::Range)

    frames.at(start) # refuses what is no number in CRuby's words
    raise ::ArgumentError, "negative level (#{start})" if start.negative?
    raise ::ArgumentError, "negative size (#{length})" if length&.negative?

    frames[start, length || frames.size]
  end

  ::Exception.class_eval do
    # CRuby also calls this at every raise, when there is no backtrace yet.
    def backtrace
      frames = BACKTRACE.bind_call(self)
      frames && WORKER.trim(frames)
    end

    def backtrace_locations = WORKER.trim(BACKTRACE_LOCATIONS.bind_call(self))
  end

  # The originals are told to leave out the frames of bind_call and, where CRuby would, of the method itself.
  ::Kernel.module_eval do
    def caller(start = 1, length = nil)
      WORKER.select(WORKER.trim(CALLER.bind_call(self, 2)), start, length)
    end

    def caller_locations(start = 1, length = nil)
      WORKER.select(WORKER.trim(CALLER_LOCATIONS.bind_call(self, 2)), start, length)
    end

    # CRuby runs its own list in ruby_cleanup, which nothing that ruby.wasm exports can reach.
    def at_exit(&block)
      raise ::ArgumentError, "called without block" unless block

      AT_EXIT_BLOCKS.push(block)
      block
    end

    module_function :caller, :caller_locations, :at_exit
  end

  ::Thread.class_eval do
    def backtrace(start = 0, length = nil)
      frames = WORKER.trim(THREAD_BACKTRACE.bind_call(self, 2))
      frames && WORKER.select(frames, start, length)
    end

    def backtrace_locations(start = 0, length = nil)
      frames = WORKER.trim(THREAD_BACKTRACE_LOCATIONS.bind_call(self, 2))
      frames && WORKER.select(frames, start, length)
    end

    def self.each_caller_location(start = 1, length = nil, &block)
      raise ::LocalJumpError, "no block given" unless block

      frames = WORKER.trim(CALLER_LOCATIONS.bind_call(self, 2))
      WORKER.select(frames, start, length)&.each(&block)
      nil
    end
  end

  # == The end of the program

  # Runs the blocks, last one first. Called in the rescue clause of `error`, so that `$!` is what it is in a
  # native ruby; an exception in a block is reported at once and is `$!` for the blocks that remain.
  # Returns the exception that decides the status, or nil.
  def run_at_exit_blocks(error)
    while (block = AT_EXIT_BLOCKS.pop)
      begin
        block.call
      rescue Exception => later
        report(later)
        return run_at_exit_blocks(later)
      end
    end
    error
  end

  # `trap("EXIT")` belongs to the end, too, and comes first.
  def finish(error)
    on_exit = Signal.trap("EXIT", "DEFAULT")
    AT_EXIT_BLOCKS.push(proc { on_exit.call(0) }) if on_exit.is_a?(Proc)
    run_at_exit_blocks(error)
  end

  # Writes what a native ruby writes about an exception that nobody rescued.
  def report(error)
    return if error.is_a?(SystemExit)

    text = describe(error)
    begin
      $stderr.write(text)
    rescue Exception
      STDERR.write(text)
    end
  end

  # A native ruby does not ask the program's own `full_message` either. In the report of a deadlock CRuby lists
  # the frames of all threads by itself.
  def describe(error)
    text =
      if error.backtrace&.first
        FULL_MESSAGE.bind_call(error, highlight: false, order: :top)
      else
        # Without a frame full_message names the place where it is called, which is the boot.
        "main.rb: #{error.detailed_message(highlight: false)}"
      end
    text = text.b.gsub(/^ *<internal:worker>:\d+:in 'run_as_main'\n/n, "") if text.include?("<internal:worker>")
    text.end_with?("\n") ? text : "#{text}\n"
  rescue Exception
    "main.rb: unhandled exception\n"
  end

  def status_of(error)
    case error
    when nil then 0
    when SystemExit then error.status
    else 1
    end
  end

  # == The main program

  # A SyntaxError of the main program has no backtrace, as in a native ruby.
  def compile(source)
    RubyVM::InstructionSequence.compile(source, "main.rb", File.expand_path("main.rb"), 1)
  rescue SyntaxError => error
    error.set_backtrace([])
    raise
  end

  def compiles?(source)
    silently { compile(source) }
    true
  rescue SyntaxError
    false
  end

  # What is compiled or loaded a second time would warn a second time.
  def silently
    verbose = $VERBOSE
    $VERBOSE = nil
    yield
  ensure
    $VERBOSE = verbose
  end

  # The compiler has warnings that name the line being run, which is one of the boot; in a native ruby none is
  # run yet, and they name the program alone.
  def naming_the_program
    warn = Warning.method(:warn)
    Warning.define_singleton_method(:warn) do |message, **category|
      warn.call(message.sub(/\A<internal:worker>:\d+: /, "main.rb: "), **category)
    end
    yield
  ensure
    Warning.singleton_class.remove_method(:warn)
  end

  # `__END__` ends the program if what stands before it is one (it may also stand in a heredoc or a comment).
  # What follows becomes readable again on stdin, which is DATA, as in `ruby < main.rb`.
  def separate_data(source)
    from = 0
    while (found = source.b.match(/^__END__\r?(?:\n|\z)/n, from))
      program = source.byteslice(0, found.begin(0))
      if compiles?(program)
        STDIN.ungetbyte(source.byteslice(found.end(0)..))
        Object.const_set(:DATA, STDIN)
        return program
      end
      from = found.end(0)
    end
    source
  end

  # A program compiled by InstructionSequence calls its top level "<compiled>" and hands `END {}` to CRuby's own
  # list. Both are entries in the object table of its binary form: an entry under another name is appended and
  # the table pointed at it. A binary that is not laid out as expected is not touched, nor are names that
  # the source itself mentions: its literals stand in the same table.
  def as_main(program, source)
    binary = program.to_binary
    magic, _, _, _, _, _, count, _, table = binary.unpack("a4V8")
    return program unless magic == "YARB" && table + 4 * count <= binary.bytesize

    offsets = binary.byteslice(table, 4 * count).unpack("V*")
    renamed = false
    text = source.b
    [
      [/E..((?:[a-z][a-z0-9() ]* in )?<compiled>)/mn, "<compiled>", "<main>"],
      [/T..(core#set_postexe)/mn, "core#set_postexe", "at_exit"],
    ].each do |pattern, old, new|
      next if text.include?(old)

      at = 0
      while (found = binary.match(pattern, at))
        at = found.end(0)
        index = offsets.index(found.begin(0))
        # One byte holds lengths up to 127, as 2n + 1.
        next unless index && found[0].getbyte(2) == 2 * found[1].bytesize + 1

        name = found[1].sub(old, new)
        binary << "\0" * (-binary.bytesize % 4)
        binary[table + 4 * index, 4] = [binary.bytesize].pack("V")
        binary << found[0].byteslice(0, 2) << (2 * name.bytesize + 1) << name
        renamed = true
      end
    end
    return program unless renamed

    binary[12, 4] = [binary.bytesize].pack("V")
    silently { RubyVM::InstructionSequence.load_from_binary(binary) }
  rescue StandardError
    program
  end

  # Environment and arguments of this invocation, in hex: Ruby itself knows only those of its own start.
  def take_surroundings(environment, arguments)
    entries = [environment].pack("H*").force_encoding(Encoding::UTF_8).split("\0")
    ENV.replace(entries.filter_map { |entry| entry.split("=", 2) if entry.index("=")&.positive? }.to_h)
    # The first one is the artifact's own name.
    ARGV.replace([arguments].pack("H*").force_encoding(Encoding::UTF_8).split("\0", -1)[1...-1] || [])
  end

  # CRuby writes out the buffers of all open files when it finalizes them, in ruby_cleanup.
  def flush
    ObjectSpace.each_object(IO) do |stream|
      stream.flush
    rescue Exception
      next
    end
  end

  # The only frame of the boot that a program could see. It never returns: a status that is merely
  # returned gets lost in ruby.wasm.
  def run_as_main(environment, arguments)
    begin
      take_surroundings(environment, arguments)
      source = separate_data(STDIN.read.force_encoding(Encoding::UTF_8))
      as_main(naming_the_program { compile(source) }, source).eval
      deciding = finish(nil)
    rescue Exception => error
      deciding = finish(error)
      report(error)
    end
    flush
    exit!(status_of(deciding) & 0xff)
  end
end

Encoding.default_external = Encoding::UTF_8
$0 = "main.rb"
GC.start
worker
