// A host of WASI preview 1 for an artifact that is C: starts it, tells how it ended, and has all calls but those of files.
//
// Its command line: the file for the report, the most bytes of memory, then the numbers of variables and of folders
// before each of these, a folder being two arguments, and the guest's arguments. It reports what a guest's exit status
// cannot tell; the guest has no way to the report.
#include "host.h"
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/uio.h>
#include <unistd.h>
#include "wasm-rt-exceptions.h"

// Only what a guest uses of it is memory. No function's part of the stack is larger than what is below it.
#define STACK_BYTES (64ul << 20)
#define BELOW_BYTES (64ul << 20)
#define MOST_DESCRIPTORS 4096
#define MOST_BUFFERS 1024
#define SECOND_NS 1000000000ull

static w2c_guest guest;
static struct descriptor descriptors[MOST_DESCRIPTORS];
static const char* report_path;
static u64 most_bytes;
static char *stack, **arguments, **variables;
static u32 argument_count, variable_count;

// -- endings

static _Noreturn void end_with(const char* kind, const char* detail) {
  int fd = open(report_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd >= 0) dprintf(fd, "%s %s\n", kind, detail);
  _exit(fd >= 0 ? 134 : 127);
}

void host_trap(wasm_rt_trap_t code) {
  end_with("trap", wasm_rt_strerror(code));
}

static void on_signal(int number, siginfo_t* told, void* context) {
  char* address = told->si_addr;
  if (address >= stack && address < stack + BELOW_BYTES + STACK_BYTES) host_trap(WASM_RT_TRAP_EXHAUSTION);
#ifdef HAS_MEMORY
  // What is reserved is as large as an address and an offset can reach.
  wasm_rt_memory_t* memory = w2c_guest_memory(&guest);
  if (address >= (char*)memory->data && address < (char*)memory->data_end) host_trap(WASM_RT_TRAP_OOB);
#endif
  signal(number, SIG_DFL);
}

void w2c_wasi__snapshot__preview1_proc_exit(struct w2c_wasi__snapshot__preview1* host, u32 status) {
  char whole[16];
  if (status < 256) _exit(status);
  snprintf(whole, sizeof whole, "%u", status);
  end_with("exit", whole);
}

// -- what the calls share

u8* at(u32 address, u64 size) {
#ifdef HAS_MEMORY
  wasm_rt_memory_t* memory = w2c_guest_memory(&guest);
  if (address + size <= memory->size) return memory->data + address;
#endif
  host_trap(WASM_RT_TRAP_OOB);
  return NULL;
}

void put32(u32 address, u32 value) { memcpy(at(address, 4), &value, 4); }
void put64(u32 address, u64 value) { memcpy(at(address, 8), &value, 8); }

u32 get32(u32 address) {
  u32 value;
  memcpy(&value, at(address, 4), 4);
  return value;
}

u64 get64(u32 address) {
  u64 value;
  memcpy(&value, at(address, 8), 8);
  return value;
}

struct descriptor* opened(u32 number) {
  static struct descriptor none;
  none = (struct descriptor){CLOSED, -1};
  return number < MOST_DESCRIPTORS ? &descriptors[number] : &none;
}

bool take(struct descriptor descriptor, u32* number) {
  for (u32 i = 0; i < MOST_DESCRIPTORS; i++) {
    if (descriptors[i].kind == CLOSED) {
      descriptors[i] = descriptor;
      *number = i;
      return true;
    }
  }
  close(descriptor.fd);
  return false;
}

u32 failure(void) {
  static const u8 names[][2] = {
      {EACCES, ACCES}, {EAGAIN, AGAIN}, {EBADF, BADF}, {EBUSY, BUSY}, {EDQUOT, DQUOT}, {EEXIST, EXISTS},
      {EFBIG, FBIG}, {EINTR, INTR}, {EINVAL, INVAL}, {EISDIR, ISDIR}, {ELOOP, LOOPS}, {EMFILE, MFILE},
      {EMLINK, MLINK}, {ENAMETOOLONG, NAMETOOLONG}, {ENFILE, NFILE}, {ENOENT, NOENT}, {ENOMEM, NOMEM},
      {ENOSPC, NOSPC}, {ENOTDIR, NOTDIR}, {ENOTEMPTY, NOTEMPTY}, {ENXIO, NXIO}, {EOPNOTSUPP, NOTSUP},
      {EOVERFLOW, OVERFLOWS}, {EPERM, PERM}, {EPIPE, PIPE}, {EROFS, ROFS}, {ESPIPE, SPIPE}, {ETXTBSY, TXTBSY},
      // A path that leads out of its folder.
      {EXDEV, PERM},
  };
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    if (names[i][0] == errno) return names[i][1];
  }
  return IO;
}

u32 result(int returned) { return returned < 0 ? failure() : OK; }

int buffers(u32 vectors, u32 count, struct iovec* filled) {
  int used = 0;
  at(vectors, 8ull * count);
  for (u32 i = 0; i < count; i++) {
    u32 address = get32(vectors + 8 * i), size = get32(vectors + 8 * i + 4);
    u8* data = at(address, size);
    if (size && used < MOST_BUFFERS) filled[used++] = (struct iovec){data, size};
  }
  return used;
}

u64 nanoseconds(const struct timespec* time) { return time->tv_sec * SECOND_NS + time->tv_nsec; }

// -- arguments, variables, randomness

static u32 sizes(char** strings, u32 count, u32 counted, u32 size) {
  u32 bytes = 0;
  for (u32 i = 0; i < count; i++) bytes += strlen(strings[i]) + 1;
  put32(counted, count);
  put32(size, bytes);
  return OK;
}

static u32 copies(char** strings, u32 count, u32 pointers, u32 data) {
  for (u32 i = 0; i < count; i++) {
    u32 size = strlen(strings[i]) + 1;
    put32(pointers + 4 * i, data);
    memcpy(at(data, size), strings[i], size);
    data += size;
  }
  return OK;
}

CALL(args_sizes_get, u32 count, u32 size) { return sizes(arguments, argument_count, count, size); }
CALL(args_get, u32 pointers, u32 data) { return copies(arguments, argument_count, pointers, data); }
CALL(environ_sizes_get, u32 count, u32 size) { return sizes(variables, variable_count, count, size); }
CALL(environ_get, u32 pointers, u32 data) { return copies(variables, variable_count, pointers, data); }

CALL(random_get, u32 address, u32 size) {
  u8* data = at(address, size);
  for (u32 done = 0; done < size;) {
    ssize_t got = getrandom(data + done, size - done, 0);
    if (got < 0 && errno != EINTR) return failure();
    if (got > 0) done += got;
  }
  return OK;
}

// -- clocks: the time of day and a monotonic one, of which no two readings are the same

static u64 now(u32 clock) {
  static u64 last;
  struct timespec time;
  clock_gettime(clock ? CLOCK_MONOTONIC : CLOCK_REALTIME, &time);
  u64 reading = nanoseconds(&time);
  if (clock) last = reading = reading > last ? reading : last + 1;
  return reading;
}

CALL(clock_res_get, u32 clock, u32 address) {
  struct timespec time;
  if (clock > 1) return BADF;
  clock_getres(clock ? CLOCK_MONOTONIC : CLOCK_REALTIME, &time);
  put64(address, nanoseconds(&time));
  return OK;
}

CALL(clock_time_get, u32 clock, u64 precision, u32 address) {
  if (clock > 1) return BADF;
  put64(address, now(clock));
  return OK;
}

CALL0(sched_yield) {
  sched_yield();
  return OK;
}

// -- waiting

// The places in a subscription (48 bytes) and in an event (32 bytes) of preview 1.
enum { TAG = 8, CLOCK = 16, TIMEOUT = 24, FLAGS = 40, ERROR = 8, TYPE = 10, BYTES = 16, HANGUP = 24 };

static void tell(u32 events, u32* count, u32 subscription, u32 error, u64 bytes, bool hangup) {
  u32 event = events + 32 * (*count)++;
  memset(at(event, 32), 0, 32);
  put64(event, get64(subscription));
  put32(event + ERROR, error | *at(subscription + TAG, 1) << 16);
  put64(event + BYTES, bytes);
  put32(event + HANGUP, hangup);
}

// Returns when a clock's subscription is due, by the monotonic clock; at the end of time if that is later.
static u64 due(u32 subscription, u64 began) {
  u64 timeout = get64(subscription + TIMEOUT);
  if (get32(subscription + FLAGS) & 1) {
    u64 passed = now(get32(subscription + CLOCK));
    timeout = timeout > passed ? timeout - passed : 0;
  }
  return timeout > INT64_MAX - began ? INT64_MAX : began + timeout;
}

CALL(poll_oneoff, u32 subscriptions, u32 events, u32 count, u32 told) {
  u64 began = now(1), first = INT64_MAX;
  u32 came = 0, waits = 0;
  if (!count) return INVAL;
  at(subscriptions, 48ull * count);
  at(events, 32ull * count);
  struct pollfd* asked = calloc(count, sizeof *asked);
  u64* times = calloc(count, sizeof *times);
  if (!asked || !times) return NOMEM;
  for (u32 i = 0; i < count; i++) {
    u32 each = subscriptions + 48 * i, tag = *at(each + TAG, 1);
    asked[i].fd = -1;
    if (tag > 2 || (tag == 0 && get32(each + CLOCK) > 1)) {
      free(asked);
      free(times);
      return INVAL;
    }
    if (tag == 0) {
      times[i] = due(each, began);
      if (times[i] < first) first = times[i];
      continue;
    }
    struct descriptor* descriptor = opened(get32(each + CLOCK));
    bool can = descriptor->kind != FOLDER && (tag == 1 ? descriptor->reads : descriptor->writes);
    if (descriptor->kind == CLOSED || !can) {
      tell(events, &came, each, BADF, 0, false);
    } else {
      asked[i] = (struct pollfd){descriptor->fd, tag == 1 ? POLLIN : POLLOUT};
      waits++;
      // Stdin is there from the start, for a guest: what we have not got yet is on its way.
      if (descriptor->kind == READABLE) poll(&asked[i], 1, -1);
    }
  }
  do {
    u64 reading = now(1), left = came || first <= reading ? 0 : first - reading;
    struct timespec timeout = {left / SECOND_NS, left % SECOND_NS};
    bool forever = !came && first == INT64_MAX && waits;
    ppoll(asked, count, forever ? NULL : &timeout, NULL);
    reading = now(1);
    for (u32 i = 0; i < count; i++) {
      u32 each = subscriptions + 48 * i;
      if (times[i] && times[i] <= reading) tell(events, &came, each, OK, 0, false);
      if (asked[i].fd < 0 || !asked[i].revents) continue;
      int readable = 0;
      bool reads = asked[i].events == POLLIN;
      if (reads) ioctl(asked[i].fd, FIONREAD, &readable);
      bool end = reads && !readable && asked[i].revents & POLLHUP;
      tell(events, &came, each, OK, reads ? readable : 1, end);
    }
  } while (!came);
  free(asked);
  free(times);
  put32(told, came);
  return OK;
}

// -- there are no sockets and no signals

static u32 no_socket(u32 number) { return opened(number)->kind == CLOSED ? BADF : NOTSOCK; }
CALL(proc_raise, u32 signal) { return NOTSUP; }
CALL(sock_accept, u32 fd, u32 flags, u32 address) { return no_socket(fd); }
CALL(sock_recv, u32 fd, u32 vectors, u32 count, u32 flags, u32 size, u32 told) { return no_socket(fd); }
CALL(sock_send, u32 fd, u32 vectors, u32 count, u32 flags, u32 size) { return no_socket(fd); }
CALL(sock_shutdown, u32 fd, u32 how) { return no_socket(fd); }

// -- the start

static void* run(void* unused) {
  static struct w2c_wasi__snapshot__preview1 host;
  static char signal_stack[1 << 16];
  sigaltstack(&(stack_t){.ss_sp = signal_stack, .ss_size = sizeof signal_stack}, NULL);
  struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK};
  sigaction(SIGSEGV, &action, NULL);
  sigaction(SIGBUS, &action, NULL);
  wasm_rt_init();
  // Where an exception ends that no one catches.
  static wasm_rt_jmp_buf nobody;
  wasm_rt_set_unwind_target(&nobody);
  if (WASM_RT_SETJMP(nobody)) host_trap(WASM_RT_TRAP_UNCAUGHT_EXCEPTION);
#ifdef HAS_IMPORTS
  wasm2c_guest_instantiate(&guest, &host);
#else
  wasm2c_guest_instantiate(&guest);
#endif
#ifdef HAS_MEMORY
  wasm_rt_memory_t* memory = w2c_guest_memory(&guest);
  if (memory->size > most_bytes) end_with("memory", "it starts with more than the limit");
  u64 most = most_bytes / memory->page_size;
  if (memory->max_pages > most) memory->max_pages = most;
#endif
  w2c_guest_0x5Fstart(&guest);
  _exit(0);
}

static u32 number_of(char*** next) { return strtoul(*(*next)++, NULL, 10); }

int main(int count, char** given) {
  char** next = given + 1;
  if (count < 6) return 127;
  report_path = *next++;
  most_bytes = strtoull(*next++, NULL, 10);
  variable_count = number_of(&next);
  variables = next;
  next += variable_count;
  descriptors[0] = (struct descriptor){READABLE, 0, .reads = true};
  descriptors[1] = (struct descriptor){WRITABLE, 1, .writes = true};
  descriptors[2] = (struct descriptor){WRITABLE, 2, .writes = true};
  for (u32 left = number_of(&next), number; left; left--, next += 2) {
    int fd = open(next[0], O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) end_with("host", "cannot open a folder that it was given");
    take((struct descriptor){FOLDER, fd, .name = next[1]}, &number);
  }
  arguments = next;
  argument_count = given + count - next;
  signal(SIGPIPE, SIG_IGN);

  pthread_attr_t attributes;
  pthread_t thread;
  int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  stack = mmap(NULL, BELOW_BYTES + STACK_BYTES, PROT_NONE, flags, -1, 0);
  if (stack == MAP_FAILED || mprotect(stack + BELOW_BYTES, STACK_BYTES, PROT_READ | PROT_WRITE)) {
    end_with("host", "has no memory for a stack");
  }
  pthread_attr_init(&attributes);
  pthread_attr_setstack(&attributes, stack + BELOW_BYTES, STACK_BYTES);
  if (pthread_create(&thread, &attributes, run, NULL)) end_with("host", "cannot start a thread");
  pthread_join(thread, NULL);
}

#ifdef __TINYC__
// What tcc does not know of C as gcc and clang speak it.
int host_clz(unsigned x) { int n = 0; while (!(x >> 31)) { x <<= 1; n++; } return n; }
int host_ctz(unsigned x) { int n = 0; while (!(x & 1)) { x >>= 1; n++; } return n; }
int host_popcount(unsigned x) { int n = 0; for (; x; x &= x - 1) n++; return n; }
int host_clzll(u64 x) { return x >> 32 ? host_clz(x >> 32) : 32 + host_clz(x); }
int host_ctzll(u64 x) { return (u32)x ? host_ctz(x) : 32 + host_ctz(x >> 32); }
int host_popcountll(u64 x) { return host_popcount(x) + host_popcount(x >> 32); }
#endif
