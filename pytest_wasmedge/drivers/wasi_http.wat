;; A wasi:http component around an artifact.
;;
;; A request's body holds arguments, environment and stdin; the response's body is a row of frames, sent as the guest
;; writes them: wasi_http.py makes the one, and reads the other. What it puts in here stands between two @.
;;
;; $artifact  what is tested; it calls $gate, which it knows as wasi_snapshot_preview1
;; $gate      each function of preview 1 as a jump into a table, which $bridge fills later: $bridge needs the memory
;;            of the artifact, so it can only be made after it
;; $store     a memory of our own, where wasi:http puts what it returns; the artifact's memory stays its own
;; $bridge    preview 1 in terms of wasi:http, and the handler of requests
(component
  ;; ---- What the host gives. Any 0.2 will do: later ones only add. ----

  (import "wasi:io/poll@0.2.0" (instance $poll
    (export "pollable" (type $pollable (sub resource)))
    (export "[method]pollable.block" (func (param "self" (borrow $pollable))))))
  (alias export $poll "pollable" (type $pollable))

  (import "wasi:io/error@0.2.0" (instance $errors
    (export "error" (type $error (sub resource)))))
  (alias export $errors "error" (type $error))

  (import "wasi:io/streams@0.2.0" (instance $streams
    (export "input-stream" (type $input-stream (sub resource)))
    (export "output-stream" (type $output-stream (sub resource)))
    (type $why (variant (case "last-operation-failed" (own $error)) (case "closed")))
    (export "stream-error" (type $stream-error (eq $why)))
    (export "[method]input-stream.blocking-read" (func
      (param "self" (borrow $input-stream)) (param "len" u64)
      (result (result (list u8) (error $stream-error)))))
    (export "[method]output-stream.check-write" (func
      (param "self" (borrow $output-stream)) (result (result u64 (error $stream-error)))))
    (export "[method]output-stream.write" (func
      (param "self" (borrow $output-stream)) (param "contents" (list u8))
      (result (result (error $stream-error)))))
    (export "[method]output-stream.blocking-flush" (func
      (param "self" (borrow $output-stream)) (result (result (error $stream-error)))))))
  (alias export $streams "input-stream" (type $input-stream))
  (alias export $streams "output-stream" (type $output-stream))

  (import "wasi:clocks/monotonic-clock@0.2.0" (instance $monotonic
    (export "now" (func (result u64)))
    (export "resolution" (func (result u64)))
    (export "subscribe-duration" (func (param "when" u64) (result (own $pollable))))))

  (import "wasi:clocks/wall-clock@0.2.0" (instance $wall
    (type $moment (record (field "seconds" u64) (field "nanoseconds" u32)))
    (export "datetime" (type $datetime (eq $moment)))
    (export "now" (func (result $datetime)))
    (export "resolution" (func (result $datetime)))))

  (alias export $wall "datetime" (type $moment-of-day))

  (import "wasi:filesystem/types@0.2.0" (instance $files
    (export "descriptor" (type $descriptor (sub resource)))
    (export "directory-entry-stream" (type $entries (sub resource)))
    (export "datetime" (type $datetime (eq $moment-of-day)))
    (type $kind (enum "unknown" "block-device" "character-device" "directory" "fifo" "symbolic-link" "regular-file"
      "socket"))
    (export "descriptor-type" (type $descriptor-type (eq $kind)))
    (type $access (flags "read" "write" "file-integrity-sync" "data-integrity-sync" "requested-write-sync"
      "mutate-directory"))
    (export "descriptor-flags" (type $descriptor-flags (eq $access)))
    (type $follow (flags "symlink-follow"))
    (export "path-flags" (type $path-flags (eq $follow)))
    (type $how (flags "create" "directory" "exclusive" "truncate"))
    (export "open-flags" (type $open-flags (eq $how)))
    (type $times (variant (case "no-change") (case "now") (case "timestamp" $datetime)))
    (export "new-timestamp" (type $new-timestamp (eq $times)))
    (type $stat (record (field "type" $descriptor-type) (field "link-count" u64) (field "size" u64)
      (field "data-access-timestamp" (option $datetime))
      (field "data-modification-timestamp" (option $datetime))
      (field "status-change-timestamp" (option $datetime))))
    (export "descriptor-stat" (type $descriptor-stat (eq $stat)))
    (type $entry (record (field "type" $descriptor-type) (field "name" string)))
    (export "directory-entry" (type $directory-entry (eq $entry)))
    (type $hash (record (field "lower" u64) (field "upper" u64)))
    (export "metadata-hash-value" (type $metadata-hash-value (eq $hash)))
    (type $codes (enum "access" "would-block" "already" "bad-descriptor" "busy" "deadlock" "quota" "exist"
      "file-too-large" "illegal-byte-sequence" "in-progress" "interrupted" "invalid" "io" "is-directory" "loop"
      "too-many-links" "message-size" "name-too-long" "no-device" "no-entry" "no-lock" "insufficient-memory"
      "insufficient-space" "not-directory" "not-empty" "not-recoverable" "unsupported" "no-tty" "no-such-device"
      "overflow" "not-permitted" "pipe" "read-only" "invalid-seek" "text-file-busy" "cross-device"))
    (export "error-code" (type $error-code (eq $codes)))
@FILES_EXPORTS@))
  (alias export $files "descriptor" (type $descriptor))
  (alias export $files "directory-entry-stream" (type $entries))

  (import "wasi:filesystem/preopens@0.2.0" (instance $folders
    (export "descriptor" (type $descriptor' (eq $descriptor)))
    (export "get-directories" (func (result (list (tuple (own $descriptor') string)))))))

  (import "wasi:random/random@0.2.0" (instance $random
    (export "get-random-bytes" (func (param "len" u64) (result (list u8))))))

  (import "wasi:http/types@0.2.0" (instance $http
    (export "fields" (type $fields (sub resource)))
    (export "incoming-request" (type $incoming-request (sub resource)))
    (export "incoming-body" (type $incoming-body (sub resource)))
    (export "outgoing-response" (type $outgoing-response (sub resource)))
    (export "outgoing-body" (type $outgoing-body (sub resource)))
    (export "response-outparam" (type $response-outparam (sub resource)))
    (type $dns (record (field "rcode" (option string)) (field "info-code" (option u16))))
    (export "DNS-error-payload" (type $dns-error (eq $dns)))
    (type $tls (record (field "alert-id" (option u8)) (field "alert-message" (option string))))
    (export "TLS-alert-received-payload" (type $tls-alert (eq $tls)))
    (type $size (record (field "field-name" (option string)) (field "field-size" (option u32))))
    (export "field-size-payload" (type $field-size (eq $size)))
    (type $code (variant
      (case "DNS-timeout")
      (case "DNS-error" $dns-error)
      (case "destination-not-found")
      (case "destination-unavailable")
      (case "destination-IP-prohibited")
      (case "destination-IP-unroutable")
      (case "connection-refused")
      (case "connection-terminated")
      (case "connection-timeout")
      (case "connection-read-timeout")
      (case "connection-write-timeout")
      (case "connection-limit-reached")
      (case "TLS-protocol-error")
      (case "TLS-certificate-error")
      (case "TLS-alert-received" $tls-alert)
      (case "HTTP-request-denied")
      (case "HTTP-request-length-required")
      (case "HTTP-request-body-size" (option u64))
      (case "HTTP-request-method-invalid")
      (case "HTTP-request-URI-invalid")
      (case "HTTP-request-URI-too-long")
      (case "HTTP-request-header-section-size" (option u32))
      (case "HTTP-request-header-size" (option $field-size))
      (case "HTTP-request-trailer-section-size" (option u32))
      (case "HTTP-request-trailer-size" $field-size)
      (case "HTTP-response-incomplete")
      (case "HTTP-response-header-section-size" (option u32))
      (case "HTTP-response-header-size" $field-size)
      (case "HTTP-response-body-size" (option u64))
      (case "HTTP-response-trailer-section-size" (option u32))
      (case "HTTP-response-trailer-size" $field-size)
      (case "HTTP-response-transfer-coding" (option string))
      (case "HTTP-response-content-coding" (option string))
      (case "HTTP-response-timeout")
      (case "HTTP-upgrade-failed")
      (case "HTTP-protocol-error")
      (case "loop-detected")
      (case "configuration-error")
      (case "internal-error" (option string))))
    (export "error-code" (type $error-code (eq $code)))
    (export "[method]incoming-request.headers" (func
      (param "self" (borrow $incoming-request)) (result (own $fields))))
    (export "[method]incoming-request.consume" (func
      (param "self" (borrow $incoming-request)) (result (result (own $incoming-body)))))
    (export "[method]incoming-body.stream" (func
      (param "self" (borrow $incoming-body)) (result (result (own $input-stream)))))
    (export "[constructor]fields" (func (result (own $fields))))
    (export "[method]fields.get" (func
      (param "self" (borrow $fields)) (param "name" string) (result (list (list u8)))))
    (export "[constructor]outgoing-response" (func
      (param "headers" (own $fields)) (result (own $outgoing-response))))
    (export "[method]outgoing-response.set-status-code" (func
      (param "self" (borrow $outgoing-response)) (param "status-code" u16) (result (result))))
    (export "[method]outgoing-response.body" (func
      (param "self" (borrow $outgoing-response)) (result (result (own $outgoing-body)))))
    (export "[method]outgoing-body.write" (func
      (param "self" (borrow $outgoing-body)) (result (result (own $output-stream)))))
    (export "[static]outgoing-body.finish" (func
      (param "this" (own $outgoing-body)) (param "trailers" (option (own $fields)))
      (result (result (error $error-code)))))
    (export "[static]response-outparam.set" (func
      (param "param" (own $response-outparam))
      (param "response" (result (own $outgoing-response) (error $error-code)))))))
  (alias export $http "incoming-request" (type $incoming-request))
  (alias export $http "response-outparam" (type $response-outparam))

  ;; ---- The modules. ----

  ;; The artifact's bytes take the place of this one, which has to be the first.
  (core module $artifact)

  ;; For an artifact without a memory.
  (core module $no-memory (memory (export "memory") 0))

  (core module $store
    (memory (export "memory") 4)
    (data (i32.const 64) "@EXPECTED@")
    (data (i32.const 128) "@SECRET@")
    ;; The error numbers of preview 1 for those of wasi:filesystem, its types for those, and what times are set to.
    (data (i32.const 192)
      "\02\06\07\08\0a\10\13\14\16\19\1a\1b\1c\1d\1f\20\22\23\25\2b\2c\2e\30\33"
      "\36\37\38\3a\3b\3c\3d\3f\40\45\46\4a\4b")
    (data (i32.const 232) "\00\01\02\03\00\07\04\06")
    (data (i32.const 240) "\00\02\01\03")
    ;; 256: what is told of a file.
    ;; 0x800: a frame; 0x14000: the headers' values, the request's body, then what else is returned to us.
    (global $free (export "free") (mut i32) (i32.const 0x14000))
    (func (export "realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32)
                             (result i32)
      (local $at i32)
      (local.set $at (i32.and
        (i32.add (global.get $free) (i32.sub (local.get $align) (i32.const 1)))
        (i32.sub (i32.const 0) (local.get $align))))
      (global.set $free (i32.add (local.get $at) (local.get $size)))
      (if (i32.gt_u (global.get $free) (i32.shl (memory.size) (i32.const 16)))
        (then (if (i32.eq (i32.const -1) (memory.grow (i32.add (i32.const 1)
                    (i32.shr_u (i32.sub (global.get $free) (i32.shl (memory.size) (i32.const 16)))
                               (i32.const 16)))))
          (then unreachable))))
      (memory.copy (local.get $at) (local.get $old) (local.get $old_size))
      (local.get $at)))

  (core module $gate
    (table (export "table") @COUNT@ funcref)
@GATES@)

  (core module $bridge
    (import "store" "memory" (memory $own 4))
    (import "memory" "memory" (memory $guest @MEMORY_TYPE@))
    (import "store" "free" (global $free (mut i32)))
    (import "gate" "table" (table @COUNT@ funcref))
    (import "guest" "_start" (func $start))
    (import "wasi" "pollable.block" (func $pollable.block (param i32)))
    (import "wasi" "pollable.drop" (func $pollable.drop (param i32)))
    (import "wasi" "input.read" (func $input.read (param i32 i64 i32)))
    (import "wasi" "output.check-write" (func $output.check-write (param i32 i32)))
    (import "wasi" "output.write" (func $output.write (param i32 i32 i32 i32)))
    (import "wasi" "output.flush" (func $output.flush (param i32 i32)))
    (import "wasi" "output.drop" (func $output.drop (param i32)))
    (import "wasi" "monotonic.now" (func $monotonic.now (result i64)))
    (import "wasi" "monotonic.resolution" (func $monotonic.resolution (result i64)))
    (import "wasi" "monotonic.after" (func $monotonic.after (param i64) (result i32)))
    (import "wasi" "wall.now" (func $wall.now (param i32)))
    (import "wasi" "wall.resolution" (func $wall.resolution (param i32)))
    (import "wasi" "random" (func $random (param i64 i32)))
    (import "wasi" "folders" (func $folders (param i32)))
@FILES_IMPORTS@
    (import "wasi" "request.headers" (func $request.headers (param i32) (result i32)))
    (import "wasi" "request.consume" (func $request.consume (param i32 i32)))
    (import "wasi" "body.stream" (func $body.stream (param i32 i32)))
    (import "wasi" "fields.new" (func $fields.new (result i32)))
    (import "wasi" "fields.get" (func $fields.get (param i32 i32 i32 i32)))
    (import "wasi" "response.new" (func $response.new (param i32) (result i32)))
    (import "wasi" "response.status" (func $response.status (param i32 i32) (result i32)))
    (import "wasi" "response.body" (func $response.body (param i32 i32)))
    (import "wasi" "body.write" (func $body.write (param i32 i32)))
    (import "wasi" "body.finish" (func $body.finish (param i32 i32 i32 i32)))
    (import "wasi" "respond" (func $respond (param i32 i32 i32 i32 i64 i32 i32 i32 i32)))

    (tag $exit)
    (elem (i32.const 0) func @ELEMENTS@)

    ;; Handles.
    (global $out (mut i32) (i32.const 0))
    (global $input (mut i32) (i32.const 0))
    (global $body (mut i32) (i32.const 0))
    (global $output (mut i32) (i32.const -1))
    ;; The invocation, in our memory, up to $mark: each text ends with a zero byte, and $stdin is what is left of it.
    (global $head (mut i32) (i32.const 0))
    (global $args (mut i32) (i32.const 0))
    (global $env (mut i32) (i32.const 0))
    (global $folders (mut i32) (i32.const 0))
    (global $stdin (mut i32) (i32.const 0))
    ;; From here on is what was returned to us; the next call throws it away.
    (global $mark (mut i32) (i32.const 0))
    (global $status (mut i32) (i32.const 0))

    ;; ---- Requests and responses. Addresses 16 to 63 are for what functions return. ----

    (func (export "handle") (param $request i32) (param $out i32)
      (global.set $out (local.get $out))
      (if (i32.eqz (call $knows_the_secret (local.get $request)))
        (then (call $refuse (i32.const 404)) (return)))
      (call $request.consume (local.get $request) (i32.const 16))
      (call $body.stream (i32.load (i32.const 20)) (i32.const 16))
      (global.set $input (i32.load (i32.const 20)))
      (global.set $head (global.get $free))
      (if (i32.eqz (call $read_all)) (then (call $refuse (i32.const @NO_ROOM@)) (return)))
      (if (i32.eqz (call $find_stdin)) (then (call $refuse (i32.const 400)) (return)))
      (if (i32.eqz (call $open_granted)) (then (call $refuse (i32.const @NO_FOLDER@)) (return)))
      (block $exited
        (try_table (catch $exit $exited) (call $start)))
      (call $begin)
      (i32.store8 (i32.const 0x800) (i32.const 0))
      (i32.store (i32.const 0x801) (global.get $status))
      (block $gone
        (try_table (catch $exit $gone)
          (call $send (i32.const 0x800) (i32.const 5))
          (call $flush)))
      (call $output.drop (global.get $output))
      (call $body.finish (global.get $body) (i32.const 0) (i32.const 0) (i32.const 16)))

    ;; The server adds a header of its own to each request, in the place of any that came.
    (func $knows_the_secret (param $request i32) (result i32)
      (local $headers i32) (local $expected i32) (local $given i32) (local $size i32) (local $difference i32)
      (local.set $headers (call $request.headers (local.get $request)))
      (local.set $expected (call $only_value (local.get $headers) (i32.const 64) (i32.const @EXPECTED_SIZE@)))
      (local.set $given (call $only_value (local.get $headers) (i32.const 128) (i32.const @SECRET_SIZE@)))
      (if (i32.or (i32.eqz (local.get $expected)) (i32.eqz (local.get $given))) (then (return (i32.const 0))))
      (local.set $size (i32.load offset=4 (local.get $expected)))
      (if (i32.ne (i32.load offset=4 (local.get $given)) (local.get $size)) (then (return (i32.const 0))))
      (local.set $expected (i32.load (local.get $expected)))
      (local.set $given (i32.load (local.get $given)))
      (block $end (loop $next
        (br_if $end (i32.eqz (local.get $size)))
        (local.set $size (i32.sub (local.get $size) (i32.const 1)))
        (local.set $difference (i32.or (local.get $difference) (i32.xor
          (i32.load8_u (i32.add (local.get $expected) (local.get $size)))
          (i32.load8_u (i32.add (local.get $given) (local.get $size))))))
        (br $next)))
      (i32.eqz (local.get $difference)))

    ;; Where address and size of a header's value are; 0 unless there is exactly one.
    (func $only_value (param $headers i32) (param $name i32) (param $size i32) (result i32)
      (call $fields.get (local.get $headers) (local.get $name) (local.get $size) (i32.const 16))
      (select (i32.load (i32.const 16)) (i32.const 0) (i32.eq (i32.load (i32.const 20)) (i32.const 1))))

    ;; Put the whole body at $head; 0 if there is no room for it. A client sends all of it before it reads anything:
    ;; it would wait for a guest that reads and writes in turns, while the guest waits for it.
    (func $read_all (result i32)
      (local $no_room i32)
      (block $end (loop $more
        (if (i32.gt_u (i32.add (global.get $free) (i32.const 0x10000)) (i32.shl (memory.size $own) (i32.const 16)))
          (then (if (i32.eq (memory.grow $own (i32.const 16)) (i32.const -1)) (then
            ;; Read on, to no use but that the client can read the answer.
            (local.set $no_room (i32.const 1))
            (global.set $free (global.get $head))))))
        ;; Bytes need no alignment, so each piece comes behind the one before.
        (call $input.read (global.get $input) (i64.const 0x10000) (i32.const 16))
        (br_if $end (i32.load8_u (i32.const 16)))
        (br $more)))
      (global.set $mark (global.get $free))
      (i32.eqz (local.get $no_room)))

    ;; Behind six numbers (count and size of the arguments, of the environment, of the folders) come the texts, then
    ;; stdin. A folder has two: where its copy is, and what the guest calls it.
    (func $find_stdin (result i32)
      (if (i32.lt_u (i32.sub (global.get $mark) (global.get $head)) (i32.const 24)) (then (return (i32.const 0))))
      (global.set $args (i32.add (global.get $head) (i32.const 24)))
      (global.set $env (i32.add (global.get $args) (i32.load offset=4 (global.get $head))))
      (global.set $folders (i32.add (global.get $env) (i32.load offset=12 (global.get $head))))
      (global.set $stdin (i32.add (global.get $folders) (i32.load offset=20 (global.get $head))))
      (i32.le_u (global.get $stdin) (global.get $mark)))

    ;; Answer with this status and no body.
    (func $refuse (param $status i32)
      (local $response i32)
      (local.set $response (call $response.new (call $fields.new)))
      (drop (call $response.status (local.get $response) (local.get $status)))
      (call $answer (local.get $response)))

    (func $answer (param $response i32)
      (call $respond (global.get $out) (i32.const 0) (local.get $response)
        (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))

    ;; Begin to answer, unless that was done.
    (func $begin
      (local $response i32)
      (if (i32.ne (global.get $output) (i32.const -1)) (then (return)))
      (local.set $response (call $response.new (call $fields.new)))
      (call $response.body (local.get $response) (i32.const 16))
      (global.set $body (i32.load (i32.const 20)))
      (call $body.write (global.get $body) (i32.const 16))
      (global.set $output (i32.load (i32.const 20)))
      (call $answer (local.get $response)))

    ;; Send these bytes of our memory. Nobody to send them to: the guest ends.
    (func $send (param $at i32) (param $size i32)
      (local $count i32)
      (block $end (loop $more
        (br_if $end (i32.eqz (local.get $size)))
        (call $output.check-write (global.get $output) (i32.const 16))
        (if (i32.load8_u (i32.const 16)) (then (throw $exit)))
        (if (i64.eqz (i64.load (i32.const 24))) (then (call $flush) (br $more)))
        (local.set $count (local.get $size))
        (if (i64.lt_u (i64.load (i32.const 24)) (i64.extend_i32_u (local.get $size)))
          (then (local.set $count (i32.load (i32.const 24)))))
        (call $output.write (global.get $output) (local.get $at) (local.get $count) (i32.const 16))
        (if (i32.load8_u (i32.const 16)) (then (throw $exit)))
        (local.set $at (i32.add (local.get $at) (local.get $count)))
        (local.set $size (i32.sub (local.get $size) (local.get $count)))
        (br $more))))

    (func $flush
      (call $output.flush (global.get $output) (i32.const 16))
      (if (i32.load8_u (i32.const 16)) (then (throw $exit))))

    ;; ---- Preview 1. Addresses are the guest's; errors: 8 badf, 25 ilseq, 28 inval, 33 mfile,
    ;; 37 nametoolong, 54 notdir, 57 notsock, 58 notsup, 70 spipe. ----

    (func $proc_exit (param $status i32)
      (global.set $status (local.get $status))
      (throw $exit))

    ;; The stream is 1 or 2, whatever the guest's descriptor is.
    (func $write_stream (param $stream i32) (param $vectors i32) (param $count i32) (param $written i32) (result i32)
      (local $at i32) (local $left i32) (local $size i32) (local $sum i32)
      (call $begin)
      (block $end (loop $next
        (br_if $end (i32.eqz (local.get $count)))
        (local.set $at (i32.load $guest (local.get $vectors)))
        (local.set $left (i32.load $guest offset=4 (local.get $vectors)))
        (local.set $sum (i32.add (local.get $sum) (local.get $left)))
        (block $sent (loop $more
          (br_if $sent (i32.eqz (local.get $left)))
          (local.set $size (call $piece (local.get $left)))
          (i32.store8 (i32.const 0x800) (local.get $stream))
          (i32.store (i32.const 0x801) (local.get $size))
          (memory.copy $own $guest (i32.const 0x805) (local.get $at) (local.get $size))
          (call $send (i32.const 0x800) (i32.add (local.get $size) (i32.const 5)))
          (local.set $at (i32.add (local.get $at) (local.get $size)))
          (local.set $left (i32.sub (local.get $left) (local.get $size)))
          (br $more)))
        (local.set $vectors (i32.add (local.get $vectors) (i32.const 8)))
        (local.set $count (i32.sub (local.get $count) (i32.const 1)))
        (br $next)))
      ;; Whatever stops the guest now, this has been written.
      (call $flush)
      (i32.store $guest (local.get $written) (local.get $sum))
      (i32.const 0))

    (func $read_stdin (param $vectors i32) (param $count i32) (param $read i32) (result i32)
      (local $size i32) (local $sum i32)
      (block $end (loop $next
        (br_if $end (i32.eqz (local.get $count)))
        (local.set $size (i32.load $guest offset=4 (local.get $vectors)))
        (if (i32.gt_u (local.get $size) (i32.sub (global.get $mark) (global.get $stdin)))
          (then (local.set $size (i32.sub (global.get $mark) (global.get $stdin)))))
        (memory.copy $guest $own (i32.load $guest (local.get $vectors)) (global.get $stdin) (local.get $size))
        (global.set $stdin (i32.add (global.get $stdin) (local.get $size)))
        (local.set $sum (i32.add (local.get $sum) (local.get $size)))
        (local.set $vectors (i32.add (local.get $vectors) (i32.const 8)))
        (local.set $count (i32.sub (local.get $count) (i32.const 1)))
        (br $next)))
      (i32.store $guest (local.get $read) (local.get $sum))
      (i32.const 0))

    (func $args_sizes_get (param $count i32) (param $size i32) (result i32)
      (i32.store $guest (local.get $count) (i32.load (global.get $head)))
      (i32.store $guest (local.get $size) (i32.load offset=4 (global.get $head)))
      (i32.const 0))
    (func $args_get (param $pointers i32) (param $at i32) (result i32)
      (call $give (global.get $args) (i32.load offset=4 (global.get $head)) (local.get $pointers) (local.get $at)))
    (func $environ_sizes_get (param $count i32) (param $size i32) (result i32)
      (i32.store $guest (local.get $count) (i32.load offset=8 (global.get $head)))
      (i32.store $guest (local.get $size) (i32.load offset=12 (global.get $head)))
      (i32.const 0))
    (func $environ_get (param $pointers i32) (param $at i32) (result i32)
      (call $give (global.get $env) (i32.load offset=12 (global.get $head)) (local.get $pointers) (local.get $at)))

    ;; Copy texts to the guest, and where each of them begins.
    (func $give (param $texts i32) (param $size i32) (param $pointers i32) (param $at i32) (result i32)
      (local $i i32) (local $before i32)
      (memory.copy $guest $own (local.get $at) (local.get $texts) (local.get $size))
      (block $end (loop $next
        (br_if $end (i32.eq (local.get $i) (local.get $size)))
        (if (i32.eqz (local.get $before)) (then
          (i32.store $guest (local.get $pointers) (i32.add (local.get $at) (local.get $i)))
          (local.set $pointers (i32.add (local.get $pointers) (i32.const 4)))))
        (local.set $before (i32.load8_u (i32.add (local.get $texts) (local.get $i))))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $next)))
      (i32.const 0))

    (func $random_get (param $at i32) (param $size i32) (result i32)
      (local $count i32)
      (block $end (loop $more
        (br_if $end (i32.eqz (local.get $size)))
        (local.set $count (local.get $size))
        (if (i32.gt_u (local.get $count) (i32.const 0x10000)) (then (local.set $count (i32.const 0x10000))))
        (global.set $free (global.get $mark))
        (call $random (i64.extend_i32_u (local.get $count)) (i32.const 16))
        (memory.copy $guest $own (local.get $at) (i32.load (i32.const 16)) (local.get $count))
        (local.set $at (i32.add (local.get $at) (local.get $count)))
        (local.set $size (i32.sub (local.get $size) (local.get $count)))
        (br $more)))
      (i32.const 0))

    ;; Clock 0 tells the time of day, 1 is monotonic; there are no others.
    (func $clock_time_get (param $clock i32) (param i64) (param $at i32) (result i32)
      (if (i32.gt_u (local.get $clock) (i32.const 1)) (then (return (i32.const 8))))
      (i64.store $guest (local.get $at) (call $now (local.get $clock)))
      (i32.const 0))
    (func $clock_res_get (param $clock i32) (param $at i32) (result i32)
      (if (i32.gt_u (local.get $clock) (i32.const 1)) (then (return (i32.const 8))))
      (call $wall.resolution (i32.const 16))
      (i64.store $guest (local.get $at)
        (if (result i64) (local.get $clock)
          (then (call $monotonic.resolution)) (else (call $nanoseconds))))
      (i32.const 0))
    (func $now (param $clock i32) (result i64)
      (if (local.get $clock) (then (return (call $monotonic.now))))
      (call $wall.now (i32.const 16))
      (call $nanoseconds))
    (func $nanoseconds (result i64)
      (i64.add (i64.mul (i64.load (i32.const 16)) (i64.const 1000000000)) (i64.load32_u (i32.const 24))))

    ;; A stream is always ready; a clock is waited for only if nothing else is.
    (func $poll_oneoff (param $asked i32) (param $events i32) (param $count i32) (param $happened i32) (result i32)
      (local $ready i32) (local $soonest i64) (local $pollable i32)
      (if (i32.eqz (local.get $count)) (then (return (i32.const 28))))
      (local.set $soonest (call $soonest (local.get $asked) (local.get $count)))
      (if (i64.ne (local.get $soonest) (i64.const 0)) (then
        (local.set $pollable (call $monotonic.after (local.get $soonest)))
        (call $pollable.block (local.get $pollable))
        (call $pollable.drop (local.get $pollable))))
      (block $end (loop $next
        (br_if $end (i32.eqz (local.get $count)))
        (if (i64.le_u (call $wait_of (local.get $asked)) (local.get $soonest)) (then
          (memory.fill $guest (local.get $events) (i32.const 0) (i32.const 32))
          (i64.store $guest (local.get $events) (i64.load $guest (local.get $asked)))
          (i32.store16 $guest offset=8 (local.get $events) (call $fault_of (local.get $asked)))
          (i32.store8 $guest offset=10 (local.get $events) (i32.load8_u $guest offset=8 (local.get $asked)))
          (local.set $events (i32.add (local.get $events) (i32.const 32)))
          (local.set $ready (i32.add (local.get $ready) (i32.const 1)))))
        (local.set $asked (i32.add (local.get $asked) (i32.const 48)))
        (local.set $count (i32.sub (local.get $count) (i32.const 1)))
        (br $next)))
      (i32.store $guest (local.get $happened) (local.get $ready))
      (i32.const 0))

    (func $soonest (param $asked i32) (param $count i32) (result i64)
      (local $soonest i64)
      (local.set $soonest (i64.const -1))
      (loop $next
        (if (i64.lt_u (call $wait_of (local.get $asked)) (local.get $soonest))
          (then (local.set $soonest (call $wait_of (local.get $asked)))))
        (local.set $asked (i32.add (local.get $asked) (i32.const 48)))
        (local.set $count (i32.sub (local.get $count) (i32.const 1)))
        (br_if $next (local.get $count)))
      (local.get $soonest))

    ;; Nanoseconds from now; 0 for a moment that has passed.
    (func $wait_of (param $asked i32) (result i64)
      (local $until i64) (local $now i64)
      (if (i32.load8_u $guest offset=8 (local.get $asked)) (then (return (i64.const 0))))
      (if (call $fault_of (local.get $asked)) (then (return (i64.const 0))))
      (local.set $until (i64.load $guest offset=24 (local.get $asked)))
      (if (i32.and (i32.const 1) (i32.load16_u $guest offset=40 (local.get $asked))) (then
        (local.set $now (call $now (i32.load $guest offset=16 (local.get $asked))))
        (return (select (i64.sub (local.get $until) (local.get $now)) (i64.const 0)
                        (i64.gt_u (local.get $until) (local.get $now))))))
      (local.get $until))

    (func $fault_of (param $asked i32) (result i32)
      (if (result i32) (i32.load8_u $guest offset=8 (local.get $asked))
        (then (select (i32.const 0) (i32.const 8) (call $entry (i32.load $guest offset=16 (local.get $asked)))))
        (else (select (i32.const 28) (i32.const 0)
          (i32.gt_u (i32.load $guest offset=16 (local.get $asked)) (i32.const 1))))))

@FILES@)

  ;; ---- How they fit together. ----

  (core instance $store (instantiate $store))
  (core instance $gate (instantiate $gate))
  (core instance $guest (instantiate $artifact @PREVIEW1@))
  @MEMORY@
  (alias core export $store "memory" (core memory $own))
  (alias core export $store "realloc" (core func $realloc))

  (core func $pollable.block (canon lower (func $poll "[method]pollable.block")))
  (core func $pollable.drop (canon resource.drop $pollable))
  (core func $input.read (canon lower
    (func $streams "[method]input-stream.blocking-read") (memory $own) (realloc $realloc)))
  (core func $output.check-write (canon lower
    (func $streams "[method]output-stream.check-write") (memory $own)))
  (core func $output.write (canon lower (func $streams "[method]output-stream.write") (memory $own)))
  (core func $output.flush (canon lower (func $streams "[method]output-stream.blocking-flush") (memory $own)))
  (core func $output.drop (canon resource.drop $output-stream))
  (core func $monotonic.now (canon lower (func $monotonic "now")))
  (core func $monotonic.resolution (canon lower (func $monotonic "resolution")))
  (core func $monotonic.after (canon lower (func $monotonic "subscribe-duration")))
  (core func $wall.now (canon lower (func $wall "now") (memory $own)))
  (core func $wall.resolution (canon lower (func $wall "resolution") (memory $own)))
  (core func $random (canon lower (func $random "get-random-bytes") (memory $own) (realloc $realloc)))
  (core func $folders (canon lower (func $folders "get-directories") (memory $own) (realloc $realloc)))
@FILES_LOWERED@
  (core func $request.headers (canon lower (func $http "[method]incoming-request.headers")))
  (core func $request.consume (canon lower (func $http "[method]incoming-request.consume") (memory $own)))
  (core func $body.stream (canon lower (func $http "[method]incoming-body.stream") (memory $own)))
  (core func $fields.new (canon lower (func $http "[constructor]fields")))
  (core func $fields.get (canon lower
    (func $http "[method]fields.get") (memory $own) (realloc $realloc)))
  (core func $response.new (canon lower (func $http "[constructor]outgoing-response")))
  (core func $response.status (canon lower (func $http "[method]outgoing-response.set-status-code")))
  (core func $response.body (canon lower (func $http "[method]outgoing-response.body") (memory $own)))
  (core func $body.write (canon lower (func $http "[method]outgoing-body.write") (memory $own)))
  (core func $body.finish (canon lower
    (func $http "[static]outgoing-body.finish") (memory $own) (realloc $realloc)))
  (core func $respond (canon lower (func $http "[static]response-outparam.set") (memory $own)))

  (core instance $bridge (instantiate $bridge
    (with "store" (instance $store))
    (with "gate" (instance $gate))
    (with "guest" (instance $guest))
    (with "memory" (instance $memory))
    (with "wasi" (instance
      (export "pollable.block" (func $pollable.block))
      (export "pollable.drop" (func $pollable.drop))
      (export "input.read" (func $input.read))
      (export "output.check-write" (func $output.check-write))
      (export "output.write" (func $output.write))
      (export "output.flush" (func $output.flush))
      (export "output.drop" (func $output.drop))
      (export "monotonic.now" (func $monotonic.now))
      (export "monotonic.resolution" (func $monotonic.resolution))
      (export "monotonic.after" (func $monotonic.after))
      (export "wall.now" (func $wall.now))
      (export "wall.resolution" (func $wall.resolution))
      (export "random" (func $random))
      (export "folders" (func $folders))
@FILES_GIVEN@
      (export "request.headers" (func $request.headers))
      (export "request.consume" (func $request.consume))
      (export "body.stream" (func $body.stream))
      (export "fields.new" (func $fields.new))
      (export "fields.get" (func $fields.get))
      (export "response.new" (func $response.new))
      (export "response.status" (func $response.status))
      (export "response.body" (func $response.body))
      (export "body.write" (func $body.write))
      (export "body.finish" (func $body.finish))
      (export "respond" (func $respond))))))

  (func $handle (param "request" (own $incoming-request)) (param "response-out" (own $response-outparam))
    (canon lift (core func $bridge "handle")))
  (instance $handler (export "handle" (func $handle)))
  (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))
