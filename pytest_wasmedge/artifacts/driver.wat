;; The driver: makes a WASI command out of ruby.wasm, which by itself is a library with an interface for
;; JavaScript. Merged with it into one module. driver.py fills in what stands between at signs: for each piece
;; of $text its place (_AT), its size in bytes (_SIZE) and its size with the NUL that follows it (_SIZE0).
(module
  (import "ruby" "memory" (memory 1))
  (import "ruby" "_initialize" (func $ruby_initialize))
  (import "ruby" "cabi_realloc"
    (func $realloc (param i32 i32 i32 i32) (result i32)))
  (import "ruby" "ruby-init: func(args: list<string>) -> ()"
    (func $ruby_init (param $args i32) (param $count i32)))
  (import "ruby" "rb-intern: func(name: string) -> u32"
    (func $intern (param $text i32) (param $size i32) (result i32)))
  ;; Both answer with the address of a pair: the object's handle, and a state that is 0 unless Ruby raised.
  (import "ruby" "rb-eval-string-protect: func(str: string) -> tuple<handle<rb-abi-value>, s32>"
    (func $eval (param $text i32) (param $size i32) (result i32)))
  (import "ruby" "rb-funcallv-protect: func(recv: handle<rb-abi-value>, mid: u32, args: list<handle<rb-abi-value>>) -> tuple<handle<rb-abi-value>, s32>"
    (func $call_method (param $receiver i32) (param $name i32) (param $args i32) (param $count i32)
      (result i32)))

  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_get" (func $environ_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get"
    (func $environ_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get"
    (func $clock_time_get (param i32 i64 i32) (result i32)))

  ;; The worker object that boot.rb returns, and the name of its method; 0 before the boot.
  (global $worker (mut i32) (i32.const 0))
  (global $run_as_main (mut i32) (i32.const 0))
  ;; 1 while Ruby starts: it then sees no environment (RUBYOPT, LANG), so that all variants start alike.
  (global $booting (mut i32) (i32.const 0))
  ;; 1 while a snapshot is made: clock and random numbers are then constants, so that equal inputs give
  ;; equal bytes. At run time both are always the host's.
  (global $sealing (mut i32) (i32.const 0))
  (global $seed (mut i32) (i32.const 0x2545f491))

  ;; Where the stack is saved to while it is unwound, after the table of $block; 0 before there is such a place.
  (global $arena (mut i32) (i32.const 0))
  ;; The buffer that the stack is being saved to, and its two words as they were; 0 while nothing is unwound.
  (global $buffer (mut i32) (i32.const 0))
  (global $top (mut i32) (i32.const 0))
  (global $end (mut i32) (i32.const 0))

  (data $text "@TEXT@")

  (func $allocate (param $size i32) (result i32)
    (call $realloc (i32.const 0) (i32.const 0) (i32.const 4) (local.get $size)))

  ;; Copies a piece of $text, with the NUL after it, into Ruby's memory.
  (func $copy (param $at i32) (param $size i32) (result i32)
    (local $to i32)
    (local.set $to (call $allocate (i32.add (local.get $size) (i32.const 1))))
    (memory.init $text (local.get $to) (local.get $at) (i32.add (local.get $size) (i32.const 1)))
    (local.get $to))

  ;; Takes the handle out of a pair. Ruby cannot report its own failure to boot, so that is a trap.
  (func $handle (param $pair i32) (result i32)
    (if (i32.load offset=4 (local.get $pair)) (then (unreachable)))
    (i32.load (local.get $pair)))

  ;; Starts Ruby as `ruby.wasm --disable-gems -e_=0`, which reads no file, then evaluates boot.rb.
  (func $boot
    (local $args i32)
    (global.set $booting (i32.const 1))
    (call $ruby_initialize)
    (global.set $arena
      (call $allocate (i32.add (i32.const @TABLE_BYTES@) (i32.const @ARENA_BYTES@))))
    (memory.fill (global.get $arena) (i32.const 0) (i32.const @TABLE_BYTES@))
    (global.set $arena (i32.add (global.get $arena) (i32.const @TABLE_BYTES@)))
    (local.set $args (call $allocate (i32.const 24)))
    ;; Strings of ruby-init need their NUL inside the length.
    (i32.store offset=0 (local.get $args) (call $copy (i32.const @ARG0_AT@) (i32.const @ARG0_SIZE@)))
    (i32.store offset=4 (local.get $args) (i32.const @ARG0_SIZE0@))
    (i32.store offset=8 (local.get $args) (call $copy (i32.const @ARG1_AT@) (i32.const @ARG1_SIZE@)))
    (i32.store offset=12 (local.get $args) (i32.const @ARG1_SIZE0@))
    (i32.store offset=16 (local.get $args) (call $copy (i32.const @ARG2_AT@) (i32.const @ARG2_SIZE@)))
    (i32.store offset=20 (local.get $args) (i32.const @ARG2_SIZE0@))
    (call $ruby_init (local.get $args) (i32.const 3))
    (global.set $run_as_main
      (call $intern (call $copy (i32.const @METHOD_AT@) (i32.const @METHOD_SIZE@))
                    (i32.const @METHOD_SIZE@)))
    (global.set $worker
      (call $handle
        (call $eval (call $copy (i32.const @BOOT_AT@) (i32.const @BOOT_SIZE@)) (i32.const @BOOT_SIZE@))))
    (global.set $booting (i32.const 0)))

  (func (export "wizer.initialize")
    (global.set $sealing (i32.const 1))
    (call $boot)
    (memory.fill (global.get $arena) (i32.const 0) (i32.const @ARENA_BYTES@))
    (global.set $sealing (i32.const 0)))

  (func $hex_digit (param $value i32) (result i32)
    (i32.add (local.get $value)
      (select (i32.const 0x30) (i32.const 0x57) (i32.lt_u (local.get $value) (i32.const 10)))))

  ;; Makes a Ruby String of the hex digits of $size bytes, by evaluating the literal "…"; returns its handle.
  (func $hex_string (param $from i32) (param $size i32) (result i32)
    (local $text i32) (local $to i32) (local $end i32) (local $byte i32)
    (local.set $text
      (call $allocate (i32.add (i32.const 3) (i32.shl (local.get $size) (i32.const 1)))))
    (i32.store8 (local.get $text) (i32.const 0x22))
    (local.set $to (i32.add (local.get $text) (i32.const 1)))
    (local.set $end (i32.add (local.get $from) (local.get $size)))
    (block $done
      (loop $next
        (br_if $done (i32.eq (local.get $from) (local.get $end)))
        (local.set $byte (i32.load8_u (local.get $from)))
        (i32.store8 offset=0 (local.get $to)
          (call $hex_digit (i32.shr_u (local.get $byte) (i32.const 4))))
        (i32.store8 offset=1 (local.get $to)
          (call $hex_digit (i32.and (local.get $byte) (i32.const 15))))
        (local.set $to (i32.add (local.get $to) (i32.const 2)))
        (local.set $from (i32.add (local.get $from) (i32.const 1)))
        (br $next)))
    (i32.store8 offset=0 (local.get $to) (i32.const 0x22))
    (i32.store8 offset=1 (local.get $to) (i32.const 0))
    (call $handle
      (call $eval (local.get $text)
        (i32.add (i32.const 2) (i32.shl (local.get $size) (i32.const 1))))))

  ;; The environment of this invocation in hex: NAME=VALUE, each ended by NUL. None if the host refuses.
  (func $environment (result i32)
    (local $sizes i32) (local $bytes i32)
    (local.set $sizes (call $allocate (i32.const 8)))
    (i64.store (local.get $sizes) (i64.const 0))
    (drop (call $environ_sizes_get (local.get $sizes) (i32.add (local.get $sizes) (i32.const 4))))
    (local.set $bytes (call $allocate (i32.add (i32.load offset=4 (local.get $sizes)) (i32.const 1))))
    (drop
      (call $environ_get
        (call $allocate (i32.add (i32.shl (i32.load (local.get $sizes)) (i32.const 2)) (i32.const 4)))
        (local.get $bytes)))
    (call $hex_string (local.get $bytes) (i32.load offset=4 (local.get $sizes))))

  ;; The arguments of this invocation in hex, each ended by NUL.
  (func $arguments (result i32)
    (local $sizes i32) (local $bytes i32)
    (local.set $sizes (call $allocate (i32.const 8)))
    (i64.store (local.get $sizes) (i64.const 0))
    (drop (call $args_sizes_get (local.get $sizes) (i32.add (local.get $sizes) (i32.const 4))))
    (local.set $bytes (call $allocate (i32.add (i32.load offset=4 (local.get $sizes)) (i32.const 1))))
    (drop
      (call $args_get
        (call $allocate (i32.add (i32.shl (i32.load (local.get $sizes)) (i32.const 2)) (i32.const 4)))
        (local.get $bytes)))
    (call $hex_string (local.get $bytes) (i32.load offset=4 (local.get $sizes))))

  (func (export "_start")
    (local $args i32)
    (if (i32.eqz (global.get $worker)) (then (call $boot)))
    (local.set $args (call $allocate (i32.const 8)))
    (i32.store offset=0 (local.get $args) (call $environment))
    (i32.store offset=4 (local.get $args) (call $arguments))
    (drop
      (call $call_method (global.get $worker) (global.get $run_as_main) (local.get $args) (i32.const 2)))
    ;; run_as_main ends in exit!; coming here means that the boot itself failed.
    (call $proc_exit (i32.const 70)))

  ;; == The saved stack
  ;;
  ;; WebAssembly cannot look at its own stack, nor leave it but by returning; so CRuby is built with Asyncify:
  ;; all functions return, saving their local variables to a buffer, and are called again. That is done for
  ;; each collection of garbage, each setjmp, each fiber. CRuby's buffers hold @BUFFER_BYTES@ bytes, and nothing
  ;; keeps a deeper stack from writing past their end; this is noticed afterwards, by a trap. Here the stack is
  ;; saved to a large arena instead, and then moved to where there is room: to CRuby's buffer, or to a block.
  ;; A buffer begins with two words: the end of what it holds, and its own end.

  ;; Called first in asyncify_start_unwind.
  (func (export "before_unwind") (param $to i32)
    (if (i32.eqz (global.get $arena)) (then (return)))
    (global.set $buffer (local.get $to))
    (global.set $top (i32.load offset=0 (local.get $to)))
    (global.set $end (i32.load offset=4 (local.get $to)))
    (i32.store offset=0 (local.get $to) (global.get $arena))
    (i32.store offset=4 (local.get $to) (i32.add (global.get $arena) (i32.const @ARENA_BYTES@))))

  ;; Called first in asyncify_stop_unwind. Where a host's stack is larger than the arena, what lay behind it is
  ;; overwritten by now: say so, and trap, as other hosts do where their stack ends.
  (func (export "before_stop_unwind")
    (if (i32.eqz (global.get $buffer)) (then (return)))
    (if (i32.le_u (i32.load (global.get $buffer)) (i32.load offset=4 (global.get $buffer))) (then (return)))
    (memory.init $text
      (i32.add (global.get $arena) (i32.const 12)) (i32.const @DEEP_AT@) (i32.const @DEEP_SIZE@))
    (i32.store offset=0 (global.get $arena) (i32.add (global.get $arena) (i32.const 12)))
    (i32.store offset=4 (global.get $arena) (i32.const @DEEP_SIZE@))
    (drop
      (call $fd_write
        (i32.const 2) (global.get $arena) (i32.const 1) (i32.add (global.get $arena) (i32.const 8))))
    (unreachable))

  ;; Called last in asyncify_stop_unwind, which also ends what was never unwound.
  (func (export "after_unwind")
    (local $size i32)
    (if (i32.eqz (global.get $buffer)) (then (return)))
    (local.set $size (i32.sub (i32.load (global.get $buffer)) (global.get $arena)))
    (if (i32.gt_u (local.get $size) (i32.sub (global.get $end) (global.get $top)))
      (then
        (global.set $top (call $block (global.get $buffer) (local.get $size)))
        ;; The collector takes all up to the end for references: there is nothing behind the stack.
        (global.set $end (i32.add (global.get $top) (local.get $size)))))
    (memory.copy (global.get $top) (global.get $arena) (local.get $size))
    (i32.store offset=0 (global.get $buffer) (i32.add (global.get $top) (local.get $size)))
    (i32.store offset=4 (global.get $buffer) (global.get $end))
    (global.set $buffer (i32.const 0)))

  ;; Returns memory of this size for a buffer, which keeps it until it is asked for more or is seen to be gone.
  ;; Each entry of the table has three words: the buffer, its block, the block's size.
  (func $block (param $for i32) (param $size i32) (result i32)
    (local $entry i32) (local $stale i32)
    (local.set $entry (i32.sub (global.get $arena) (i32.const @TABLE_BYTES@)))
    (block $found
      (loop $next
        (br_if $found (i32.eq (i32.load (local.get $entry)) (local.get $for)))
        ;; Buffers have no end that we could see: one that does not point into its block any more is gone.
        (if (i32.eqz (local.get $stale))
          (then
            (if (i32.or
                  (i32.eqz (i32.load (local.get $entry)))
                  (i32.gt_u
                    (i32.sub (i32.load (i32.load (local.get $entry))) (i32.load offset=4 (local.get $entry)))
                    (i32.load offset=8 (local.get $entry))))
              (then (local.set $stale (local.get $entry))))))
        (local.set $entry (i32.add (local.get $entry) (i32.const 12)))
        (br_if $next (i32.lt_u (local.get $entry) (global.get $arena))))
      ;; None of them is gone: this block is never given back.
      (if (i32.eqz (local.get $stale)) (then (return (call $allocate (local.get $size)))))
      (local.set $entry (local.get $stale)))
    (i32.store offset=0 (local.get $entry) (local.get $for))
    (if (i32.lt_u (i32.load offset=8 (local.get $entry)) (local.get $size))
      (then
        (i32.store offset=4 (local.get $entry)
          (call $realloc
            (i32.load offset=4 (local.get $entry)) (i32.load offset=8 (local.get $entry))
            (i32.const 8) (local.get $size)))
        (i32.store offset=8 (local.get $entry) (local.get $size))))
    (i32.load offset=4 (local.get $entry)))

  ;; == What ruby.wasm calls instead of the host's functions of the same names

  (func (export "environ_sizes_get") (param $count i32) (param $size i32) (result i32)
    (if (result i32) (global.get $booting)
      (then
        (i32.store (local.get $count) (i32.const 0))
        (i32.store (local.get $size) (i32.const 0))
        (i32.const 0))
      (else (call $environ_sizes_get (local.get $count) (local.get $size)))))

  (func (export "environ_get") (param $pointers i32) (param $bytes i32) (result i32)
    (if (result i32) (global.get $booting)
      (then (i32.const 0))
      (else (call $environ_get (local.get $pointers) (local.get $bytes)))))

  (func (export "random_get") (param $to i32) (param $size i32) (result i32)
    (local $end i32)
    (if (i32.eqz (global.get $sealing))
      (then (return (call $random_get (local.get $to) (local.get $size)))))
    (local.set $end (i32.add (local.get $to) (local.get $size)))
    (block $done
      (loop $next
        (br_if $done (i32.eq (local.get $to) (local.get $end)))
        ;; A linear congruential generator; its high bits are the good ones.
        (global.set $seed
          (i32.add (i32.mul (global.get $seed) (i32.const 1664525)) (i32.const 1013904223)))
        (i32.store8 (local.get $to) (i32.shr_u (global.get $seed) (i32.const 24)))
        (local.set $to (i32.add (local.get $to) (i32.const 1)))
        (br $next)))
    (i32.const 0))

  (func (export "clock_time_get") (param $clock i32) (param $precision i64) (param $to i32) (result i32)
    (if (result i32) (global.get $sealing)
      (then
        (i64.store (local.get $to) (i64.const 1))
        (i32.const 0))
      (else (call $clock_time_get (local.get $clock) (local.get $precision) (local.get $to))))))
