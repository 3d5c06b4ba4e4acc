;; The least that greets: one call of preview 1, and returning from _start is status 0.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  ;; One part of what is written: its address and its length; then the text itself.
  (data (i32.const 0) "\10\00\00\00" "\0e\00\00\00")
  (data (i32.const 16) "Hello, World!\n")
  (func (export "_start")
    ;; descriptor, the list of parts, how many there are, where the number of written bytes goes
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))
