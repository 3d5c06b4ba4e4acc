// What the parts of this host of WASI preview 1 share. It is compiled with what wasm2c wrote for one artifact.
#define _GNU_SOURCE
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>
#include "guest.h"

// The calls of preview 1, as wasm2c names them. There is one guest, so they need not be told which.
struct w2c_wasi__snapshot__preview1 {
  int unused;
};
#define CALL(name, ...) u32 w2c_wasi__snapshot__preview1_##name(struct w2c_wasi__snapshot__preview1* host, __VA_ARGS__)
#define CALL0(name) u32 w2c_wasi__snapshot__preview1_##name(struct w2c_wasi__snapshot__preview1* host)

enum {
  OK = 0, ACCES = 2, AGAIN = 6, BADF = 8, BUSY = 10, DQUOT = 19, EXISTS = 20, FBIG = 22, ILSEQ = 25, INTR = 27,
  INVAL = 28, IO = 29, ISDIR = 31, LOOPS = 32, MFILE = 33, MLINK = 34, NAMETOOLONG = 37, NFILE = 41, NOENT = 44,
  NOMEM = 48, NOSPC = 51, NOTDIR = 54, NOTEMPTY = 55, NOTSOCK = 57, NOTSUP = 58, NXIO = 60, OVERFLOWS = 61,
  PERM = 63, PIPE = 64, ROFS = 69, SPIPE = 70, TXTBSY = 74, XDEV = 75
};

enum kind { CLOSED, READABLE, WRITABLE, FILE_, FOLDER };

// A descriptor of the guest: a stream, a file or a folder. `name` is that of a folder which it was given.
struct descriptor {
  enum kind kind;
  int fd;
  bool reads, writes;
  const char* name;
};

// Returns the guest's memory from there, of this size; outside of it, the guest traps.
u8* at(u32 address, u64 size);
void put32(u32 address, u32 value);
void put64(u32 address, u64 value);
u32 get32(u32 address);
u64 get64(u32 address);

// Returns a descriptor, or one that is closed.
struct descriptor* opened(u32 number);
// Takes the lowest number that is free. Returns false, with `fd` closed, if there is none.
bool take(struct descriptor descriptor, u32* number);
// Returns what preview 1 calls the error of the system that was met last.
u32 failure(void);
u32 result(int returned);
// Fills in a guest's buffers, at most 1024; returns their number.
struct iovec;
int buffers(u32 vectors, u32 count, struct iovec* filled);
void host_trap(wasm_rt_trap_t code);
u64 nanoseconds(const struct timespec* time);
