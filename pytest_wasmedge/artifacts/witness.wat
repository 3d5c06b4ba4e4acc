;; The witness: a guest that asks WASI preview 1 directly and tells what it was given.
;;
;; Its stdin is a request: one line, then a payload. The line is a word, of which the first letter counts, and numbers
;; or a path. Every error number of preview 1 is told as it is: the reader knows which one it expects.
;;
;;   echo                the payload, on stdout and on stderr
;;   fill OUT ERR SIZE   so many bytes on stdout and on stderr, in turns of SIZE bytes: "0000000\n", "0000001\n" …
;;   args                how many arguments there are, then all of them, each with a NUL at its end
;;   variables           so for the environment
;;   quit STATUS         the payload on both streams, then this exit status
;;   trap                so, then unreachable
;;   blow                so, then a recursion without end
;;   loop                so, then a loop without end
;;   clocks COUNT        resolution and time of the clocks 0 (of day) and 1 (monotonic), then so many times of clock 1
;;   sleep MS            both times, a sleep, both times again
;;   random COUNT        so many random bytes
;;   descriptors         of each open descriptor below 32: number, type, the error of asking for its folder, and its name
;;   grow PAGES          what memory.grow answers
;;   memory              what another invocation left: a global, a byte, pages; then it leaves all three, as do those
;;                       that write their payload
;;   new PATH            makes a file with the payload in the folder of descriptor 3; `new4` in that of descriptor 4 …
;;   peek PATH           the error of opening a file there, and its content
;;   ways                each line of the payload is a step in that folder, told by its error: `symlink TO AT`,
;;                       `hard FROM AT` (`Hard`: to where the link FROM leads), `move FROM AT`, `folder AT`, `delete AT`,
;;                       `write AT`, or `read AT`, with the content. Links are followed; a path has no blanks
;;
;; A request that begins with a byte order mark comes back whole, on stdout and on stderr.
(module
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_get" (func $environ_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_res_get" (func $clock_res_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock_time_get (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_fdstat_get" (func $fd_fdstat_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_prestat_get" (func $fd_prestat_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_prestat_dir_name"
    (func $fd_prestat_dir_name (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_symlink" (func $path_symlink (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_link" (func $path_link (param i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_rename" (func $path_rename (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_create_directory"
    (func $path_create_directory (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_unlink_file" (func $path_unlink_file (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_close" (func $fd_close (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))

  ;; 0: a buffer and its length for fd_read and fd_write, 8: how much was moved, 16: answers of other calls,
  ;; 64: a subscription, 128: an event, 192: the last line of `fill`, 256: a mark for `memory`, 1024: the text of the
  ;; answer so far. The request lies behind all memory that is there after a first call, since a host may keep something of
  ;; its own in a guest's memory: the adapter that makes components does. Above it is what an answer needs.
  (memory (export "memory") 1)
  (global $text (mut i32) (i32.const 1024))
  (global $request (mut i32) (i32.const 0))
  (global $next (mut i32) (i32.const 0))
  (global $end (mut i32) (i32.const 0))
  (global $left (mut i32) (i32.const 0))
  (global $folder (mut i32) (i32.const 3))

  ;; Make the memory end at or behind this address.
  (func $reach (param $address i32)
    (local $missing i32)
    (local.set $missing (i32.sub
      (i32.shr_u (i32.add (local.get $address) (i32.const 65535)) (i32.const 16)) (memory.size)))
    (if (i32.gt_s (local.get $missing) (i32.const 0))
      (then (if (i32.eq (memory.grow (local.get $missing)) (i32.const -1)) (then (unreachable))))))

  ;; Write all of it, in as many calls as the host needs.
  (func $write (param $fd i32) (param $at i32) (param $size i32)
    (local $errno i32)
    (loop $more
      (if (i32.gt_s (local.get $size) (i32.const 0))
        (then
          (i32.store (i32.const 0) (local.get $at))
          (i32.store (i32.const 4) (local.get $size))
          (local.set $errno (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8)))
          (if (local.get $errno) (then (call $proc_exit (i32.add (i32.const 100) (i32.and (local.get $errno) (i32.const 15))))))
          (local.set $at (i32.add (local.get $at) (i32.load (i32.const 8))))
          (local.set $size (i32.sub (local.get $size) (i32.load (i32.const 8))))
          (br $more)))))

  ;; Read a descriptor to its end, to this address; return the end.
  (func $read (param $fd i32) (param $at i32) (result i32)
    (loop $more
      (call $reach (i32.add (local.get $at) (i32.const 65536)))
      (i32.store (i32.const 0) (local.get $at))
      (i32.store (i32.const 4) (i32.const 65536))
      (if (i32.eqz (call $fd_read (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8)))
        (then
          (local.set $at (i32.add (local.get $at) (i32.load (i32.const 8))))
          (br_if $more (i32.load (i32.const 8))))))
    (local.get $at))

  (func $character (param $code i32)
    (i32.store8 (global.get $text) (local.get $code))
    (global.set $text (i32.add (global.get $text) (i32.const 1))))

  (func $digits (param $number i64)
    (if (i64.ge_u (local.get $number) (i64.const 10))
      (then (call $digits (i64.div_u (local.get $number) (i64.const 10)))))
    (call $character (i32.add (i32.const 48) (i32.wrap_i64 (i64.rem_u (local.get $number) (i64.const 10))))))

  ;; A number in the text of the answer, and a blank.
  (func $tell (param $number i64)
    (call $digits (local.get $number))
    (call $character (i32.const 32)))

  (func $line
    (call $character (i32.const 10)))

  (func $flush
    (call $write (i32.const 1) (i32.const 1024) (i32.sub (global.get $text) (i32.const 1024)))
    (global.set $text (i32.const 1024)))

  ;; The next number of the request's line; 0 if there is none.
  (func $number (result i32)
    (local $value i32) (local $code i32)
    (loop $blank
      (local.set $code (i32.load8_u (global.get $next)))
      (if (i32.and (i32.ne (local.get $code) (i32.const 10))
                   (i32.gt_u (i32.sub (local.get $code) (i32.const 48)) (i32.const 9)))
        (then (global.set $next (i32.add (global.get $next) (i32.const 1))) (br $blank))))
    (loop $digit
      (local.set $code (i32.sub (i32.load8_u (global.get $next)) (i32.const 48)))
      (if (i32.le_u (local.get $code) (i32.const 9))
        (then
          (local.set $value (i32.add (i32.mul (local.get $value) (i32.const 10)) (local.get $code)))
          (global.set $next (i32.add (global.get $next) (i32.const 1)))
          (br $digit))))
    (local.get $value))

  ;; The length of what is left of the line, without its end; afterwards $next is the payload.
  (func $rest (result i32)
    (local $begin i32)
    (local.set $begin (global.get $next))
    (loop $more
      (if (i32.and (i32.lt_u (global.get $next) (global.get $end))
                   (i32.ne (i32.load8_u (global.get $next)) (i32.const 10)))
        (then (global.set $next (i32.add (global.get $next) (i32.const 1))) (br $more))))
    (i32.sub (global.get $next) (local.get $begin))
    (global.set $next (i32.add (global.get $next) (i32.const 1))))

  (func $leave
    (global.set $left (i32.const 1))
    (i32.store8 (i32.const 256) (i32.const 1))
    (drop (memory.grow (i32.const 1))))

  (func $payload_out
    (drop (call $rest))
    (call $leave)
    (call $write (i32.const 1) (global.get $next) (i32.sub (global.get $end) (global.get $next)))
    (call $write (i32.const 2) (global.get $next) (i32.sub (global.get $end) (global.get $next))))

  ;; "0000000\n" and its successors, so many bytes from this address on.
  (func $count_up (param $at i32) (param $to i32)
    (local $digit i32)
    (loop $line
      (if (i32.lt_u (local.get $at) (local.get $to))
        (then
          (i64.store (local.get $at) (i64.load (i32.const 192)))
          (local.set $digit (i32.const 198))
          (loop $carry
            (i32.store8 (local.get $digit) (i32.add (i32.load8_u (local.get $digit)) (i32.const 1)))
            (if (i32.gt_u (i32.load8_u (local.get $digit)) (i32.const 57))
              (then
                (i32.store8 (local.get $digit) (i32.const 48))
                (local.set $digit (i32.sub (local.get $digit) (i32.const 1)))
                (br_if $carry (i32.ge_u (local.get $digit) (i32.const 192))))))
          (local.set $at (i32.add (local.get $at) (i32.const 8)))
          (br $line)))))

  (func $least (param $one i32) (param $two i32) (result i32)
    (select (local.get $one) (local.get $two) (i32.lt_u (local.get $one) (local.get $two))))

  (func $fill
    (local $out i32) (local $err i32) (local $size i32) (local $most i32) (local $from i32) (local $piece i32)
    (local.set $out (call $number))
    (local.set $err (call $number))
    (local.set $size (call $number))
    (local.set $most (select (local.get $out) (local.get $err) (i32.gt_u (local.get $out) (local.get $err))))
    (call $reach (i32.add (global.get $end) (i32.add (local.get $most) (i32.const 8))))
    (i64.store (i32.const 192) (i64.const 0x0a30303030303030))
    (call $count_up (global.get $end) (i32.add (global.get $end) (local.get $most)))
    (loop $turn
      (if (i32.lt_u (local.get $from) (local.get $most))
        (then
          (local.set $piece (call $least (local.get $size)
            (i32.sub (local.get $out) (call $least (local.get $out) (local.get $from)))))
          (call $write (i32.const 1) (i32.add (global.get $end) (local.get $from)) (local.get $piece))
          (local.set $piece (call $least (local.get $size)
            (i32.sub (local.get $err) (call $least (local.get $err) (local.get $from)))))
          (call $write (i32.const 2) (i32.add (global.get $end) (local.get $from)) (local.get $piece))
          (local.set $from (i32.add (local.get $from) (local.get $size)))
          (br $turn)))))

  ;; Make room above the request for as many pointers and bytes as stand at 16; return where the bytes go.
  (func $room (result i32)
    ;; Pointers need to lie at a multiple of four.
    (global.set $end (i32.and (i32.add (global.get $end) (i32.const 7)) (i32.const -8)))
    (call $reach (i32.add (global.get $end)
      (i32.add (i32.mul (i32.const 4) (i32.load (i32.const 16))) (i32.load (i32.const 20)))))
    (i32.add (global.get $end) (i32.mul (i32.const 4) (i32.load (i32.const 16)))))

  (func $strings (param $at i32)
    (call $tell (i64.extend_i32_u (i32.load (i32.const 16))))
    (call $line)
    (call $flush)
    (call $write (i32.const 1) (local.get $at) (i32.load (i32.const 20))))

  (func $args
    (local $at i32)
    (if (call $args_sizes_get (i32.const 16) (i32.const 20)) (then (unreachable)))
    (local.set $at (call $room))
    (if (i32.load (i32.const 16))
      (then (if (call $args_get (global.get $end) (local.get $at)) (then (unreachable)))))
    (call $strings (local.get $at)))

  (func $variables
    (local $at i32)
    (if (call $environ_sizes_get (i32.const 16) (i32.const 20)) (then (unreachable)))
    (local.set $at (call $room))
    ;; Where there are none, nobody asks for them: uvwasi then answers with an error.
    (if (i32.load (i32.const 16))
      (then (if (call $environ_get (global.get $end) (local.get $at)) (then (unreachable)))))
    (call $strings (local.get $at)))

  (func $now (param $clock i32)
    (i64.store (i32.const 16) (i64.const 0))
    (if (call $clock_time_get (local.get $clock) (i64.const 1) (i32.const 16)) (then (unreachable)))
    (call $tell (i64.load (i32.const 16))))

  (func $clock (param $clock i32)
    (i64.store (i32.const 16) (i64.const 0))
    (if (call $clock_res_get (local.get $clock) (i32.const 16)) (then (unreachable)))
    (call $tell (i64.load (i32.const 16)))
    (call $now (local.get $clock))
    (call $line))

  (func $clocks
    (local $count i32)
    (local.set $count (call $number))
    (call $clock (i32.const 0))
    (call $clock (i32.const 1))
    (loop $again
      (if (local.get $count)
        (then
          (call $now (i32.const 1))
          (local.set $count (i32.sub (local.get $count) (i32.const 1)))
          (br $again))))
    (call $line)
    (call $flush))

  (func $both_times
    (call $now (i32.const 0))
    (call $now (i32.const 1))
    (call $line))

  (func $sleep
    (local $ms i32)
    (local.set $ms (call $number))
    (call $both_times)
    ;; User data, then type 0 at 72, clock 1 at 80, and the time at 88; relative.
    (i32.store (i32.const 80) (i32.const 1))
    (i64.store (i32.const 88) (i64.mul (i64.extend_i32_u (local.get $ms)) (i64.const 1000000)))
    (call $tell (i64.extend_i32_u
      (call $poll_oneoff (i32.const 64) (i32.const 128) (i32.const 1) (i32.const 16))))
    (call $line)
    (call $both_times)
    (call $flush))

  (func $random
    (local $count i32)
    (local.set $count (call $number))
    (call $reach (i32.add (global.get $end) (local.get $count)))
    (if (call $random_get (global.get $end) (local.get $count)) (then (unreachable)))
    (call $write (i32.const 1) (global.get $end) (local.get $count)))

  (func $descriptors
    (local $fd i32) (local $errno i32)
    (loop $each
      (if (i32.eqz (call $fd_fdstat_get (local.get $fd) (i32.const 16)))
        (then
          (call $tell (i64.extend_i32_u (local.get $fd)))
          (call $tell (i64.extend_i32_u (i32.load8_u (i32.const 16))))
          (local.set $errno (call $fd_prestat_get (local.get $fd) (i32.const 48)))
          (call $tell (i64.extend_i32_u (local.get $errno)))
          (if (i32.eqz (local.get $errno))
            (then
              (drop (call $fd_prestat_dir_name
                (local.get $fd) (global.get $text) (i32.load (i32.const 52))))
              (global.set $text (i32.add (global.get $text) (i32.load (i32.const 52))))))
          (call $line)))
      (local.set $fd (i32.add (local.get $fd) (i32.const 1)))
      (br_if $each (i32.lt_u (local.get $fd) (i32.const 32))))
    (call $flush))

  (func $grow
    (call $tell (i64.extend_i32_u (memory.grow (call $number))))
    (call $line)
    (call $flush))

  (func $memory
    (call $tell (i64.extend_i32_u (global.get $left)))
    (call $tell (i64.extend_i32_u (i32.load8_u (i32.const 256))))
    (call $tell (i64.extend_i32_u (memory.size)))
    (call $line)
    (call $leave)
    (call $flush))

  ;; Open the path that the line ends with, in a granted folder; the answer's error comes first.
  (func $open (param $follow i32) (param $oflags i32) (param $rights i64) (result i32)
    (local $begin i32)
    (local.set $begin (global.get $next))
    (call $told (call $path_open (global.get $folder) (local.get $follow) (local.get $begin) (call $rest)
      (local.get $oflags) (local.get $rights) (i64.const 0) (i32.const 0) (i32.const 16))))

  (func $told (param $errno i32) (result i32)
    (call $tell (i64.extend_i32_u (local.get $errno)))
    (call $line)
    (call $flush)
    (local.get $errno))

  (func $new
    ;; O_CREAT | O_EXCL; fd_write
    (if (i32.eqz (call $open (i32.const 0) (i32.const 5) (i64.const 64)))
      (then
        (call $write (i32.load (i32.const 16)) (global.get $next) (i32.sub (global.get $end) (global.get $next)))
        (drop (call $fd_close (i32.load (i32.const 16)))))))

  (func $peek (param $follow i32)
    ;; fd_read
    (if (i32.eqz (call $open (local.get $follow) (i32.const 0) (i64.const 2)))
      (then
        (call $write (i32.const 1) (global.get $end)
          (i32.sub (call $read (i32.load (i32.const 16)) (global.get $end)) (global.get $end))))))

  ;; Skip what is left of a word and one blank; return how long the word was.
  (func $word (result i32)
    (local $begin i32)
    (local.set $begin (global.get $next))
    (loop $more
      (if (i32.gt_u (i32.load8_u (global.get $next)) (i32.const 32))
        (then (global.set $next (i32.add (global.get $next) (i32.const 1))) (br $more))))
    (i32.sub (global.get $next) (local.get $begin))
    (if (i32.eq (i32.load8_u (global.get $next)) (i32.const 32))
      (then (global.set $next (i32.add (global.get $next) (i32.const 1))))))

  (func $ways
    (drop (call $rest))
    (loop $step
      (if (i32.lt_u (global.get $next) (global.get $end)) (then (call $step) (br $step)))))

  (func $step
    (local $what i32) (local $from i32) (local $size i32) (local $at i32)
    (local.set $what (i32.load8_u (global.get $next)))
    (drop (call $word))
    (if (i32.eq (local.get $what) (i32.const 0x72)) (then (call $peek (i32.const 1)) (return)))  ;; r
    (if (i32.eq (local.get $what) (i32.const 0x77)) (then  ;; w, with O_CREAT | O_TRUNC; the path is what is written
      (local.set $at (global.get $next))
      (if (i32.eqz (call $open (i32.const 1) (i32.const 9) (i64.const 64))) (then
        (call $write (i32.load (i32.const 16)) (local.get $at) (i32.sub (global.get $next) (local.get $at)))))
      (return)))
    (local.set $from (global.get $next))
    (local.set $size (call $word))
    (local.set $at (global.get $next))
    (if (i32.eq (local.get $what) (i32.const 0x73)) (then  ;; s
      (drop (call $told (call $path_symlink (local.get $from) (local.get $size)
        (global.get $folder) (local.get $at) (call $rest))))))
    (if (i32.eq (i32.or (local.get $what) (i32.const 0x20)) (i32.const 0x68)) (then  ;; h and H
      (drop (call $told (call $path_link (global.get $folder) (i32.eq (local.get $what) (i32.const 0x48))
        (local.get $from) (local.get $size) (global.get $folder) (local.get $at) (call $rest))))))
    (if (i32.eq (local.get $what) (i32.const 0x6d)) (then  ;; m
      (drop (call $told (call $path_rename (global.get $folder) (local.get $from) (local.get $size)
        (global.get $folder) (local.get $at) (call $rest))))))
    (if (i32.eq (local.get $what) (i32.const 0x66)) (then  ;; f
      (drop (call $rest))
      (drop (call $told (call $path_create_directory (global.get $folder) (local.get $from) (local.get $size))))))
    (if (i32.eq (local.get $what) (i32.const 0x64)) (then  ;; d
      (drop (call $rest))
      (drop (call $told (call $path_unlink_file (global.get $folder) (local.get $from) (local.get $size)))))))

  (func $deeper (param $depth i64) (result i64)
    (i64.add (call $deeper (i64.add (local.get $depth) (i64.const 1))) (local.get $depth)))

  (func (export "_start")
    (local $word i32) (local $last i32)
    (drop (call $fd_fdstat_get (i32.const 0) (i32.const 16)))
    ;; Before it is room for the end of a line that is not there.
    (global.set $request (i32.add (i32.shl (memory.size) (i32.const 16)) (i32.const 8)))
    (global.set $next (global.get $request))
    (global.set $end (call $read (i32.const 0) (global.get $request)))
    (if (i32.eq (global.get $end) (global.get $request)) (then (return)))
    (local.set $word (i32.load8_u (global.get $request)))
    ;; The word ends at a blank or with the line.
    (loop $letter
      (if (i32.gt_u (i32.load8_u (global.get $next)) (i32.const 32))
        (then (global.set $next (i32.add (global.get $next) (i32.const 1))) (br $letter))))
    (local.set $last (i32.sub (i32.load8_u (i32.sub (global.get $next) (i32.const 1))) (i32.const 48)))
    (if (i32.le_u (local.get $last) (i32.const 9)) (then (global.set $folder (local.get $last))))
    (if (i32.eq (i32.load8_u (global.get $next)) (i32.const 32))
      (then (global.set $next (i32.add (global.get $next) (i32.const 1)))))
    (if (i32.eq (local.get $word) (i32.const 0xef)) (then  ;; a byte order mark: there is no line before the payload
      (global.set $next (i32.sub (global.get $request) (i32.const 1)))
      (i32.store8 (global.get $next) (i32.const 10))
      (call $payload_out) (return)))
    (if (i32.eq (local.get $word) (i32.const 0x65)) (then (call $payload_out) (return)))  ;; e
    (if (i32.eq (local.get $word) (i32.const 0x66)) (then (call $fill) (return)))  ;; f
    (if (i32.eq (local.get $word) (i32.const 0x61)) (then (call $args) (return)))  ;; a
    (if (i32.eq (local.get $word) (i32.const 0x76)) (then (call $variables) (return)))  ;; v
    (if (i32.eq (local.get $word) (i32.const 0x71)) (then  ;; q
      (local.set $word (call $number)) (call $payload_out) (call $proc_exit (local.get $word))))
    (if (i32.eq (local.get $word) (i32.const 0x74)) (then (call $payload_out) (unreachable)))  ;; t
    (if (i32.eq (local.get $word) (i32.const 0x62)) (then  ;; b
      (call $payload_out) (drop (call $deeper (i64.const 0))) (return)))
    (if (i32.eq (local.get $word) (i32.const 0x6c)) (then (call $payload_out) (loop $forever (br $forever))))  ;; l
    (if (i32.eq (local.get $word) (i32.const 0x63)) (then (call $clocks) (return)))  ;; c
    (if (i32.eq (local.get $word) (i32.const 0x73)) (then (call $sleep) (return)))  ;; s
    (if (i32.eq (local.get $word) (i32.const 0x72)) (then (call $random) (return)))  ;; r
    (if (i32.eq (local.get $word) (i32.const 0x64)) (then (call $descriptors) (return)))  ;; d
    (if (i32.eq (local.get $word) (i32.const 0x67)) (then (call $grow) (return)))  ;; g
    (if (i32.eq (local.get $word) (i32.const 0x6d)) (then (call $memory) (return)))  ;; m
    (if (i32.eq (local.get $word) (i32.const 0x6e)) (then (call $new) (return)))  ;; n
    (if (i32.eq (local.get $word) (i32.const 0x70)) (then (call $peek (i32.const 0)) (return)))  ;; p
    (if (i32.eq (local.get $word) (i32.const 0x77)) (then (call $ways) (return)))  ;; w
    (call $proc_exit (i32.const 99)))
)
