// The calls of preview 1 for streams, files and folders. The kernel keeps a guest in its folders: openat2 refuses
// whatever leads out of one, `..`, links and races among them.
#include "host.h"
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef SYS_openat2
#define SYS_openat2 437
#endif
#define BENEATH 0x0a  // RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS

enum { SEEKS = 1 << 2, READS = 1 << 1, WRITES = 1 << 6 };
// What all folders may do, and what may be done with what is opened in them; what files may do.
#define FOLDER_RIGHTS 0x07b7fe00ull
#define INNER_RIGHTS 0x0ff7ffffull
#define FILE_RIGHTS 0x08e001ffull
enum { APPEND = 1, NONBLOCK = 4, ALL_FLAGS = 31 };
enum { CREATE = 1, DIRECTORY = 2, EXCLUSIVE = 4, TRUNCATE = 8 };
enum { ATIME = 1, ATIME_NOW = 2, MTIME = 4, MTIME_NOW = 8 };
enum { FOLLOW = 1 };

// -- paths

// A path of the guest in a folder: its last name with a slash that stood behind it, and the open folder of that name.
struct place {
  int folder;
  char *path, *name;
};

static bool is_utf8(const u8* text, u32 size) {
  for (u32 i = 0; i < size;) {
    u8 first = text[i++];
    int more = first < 0x80 ? 0 : first >> 5 == 6 ? 1 : first >> 4 == 14 ? 2 : first >> 3 == 30 ? 3 : -1;
    u32 point = more < 1 ? first : first & (0x3f >> more);
    if (more < 0 || i + more > size) return false;
    for (int left = more; left; left--) {
      if (text[i] >> 6 != 2) return false;
      point = point << 6 | (text[i++] & 0x3f);
    }
    if (point > 0x10ffff || (point >= 0xd800 && point < 0xe000)) return false;
    if (more && point < (u32[]){0, 0x80, 0x800, 0x10000}[more]) return false;
  }
  return true;
}

// Copies a path; free it. Returns an error for one that there cannot be.
static u32 copied(u32 address, u32 size, char** path) {
  u8* text = at(address, size);
  if (memchr(text, 0, size)) return INVAL;
  if (!is_utf8(text, size)) return ILSEQ;
  if (!size) return NOENT;
  if (*text == '/') return PERM;
  *path = strndup((char*)text, size);
  return *path ? OK : NOMEM;
}

static int beneath(int folder, const char* path, u64 flags, u64 mode) {
  struct {
    u64 flags, mode, resolve;
  } how = {flags | O_CLOEXEC, mode, BENEATH};
  return syscall(SYS_openat2, folder, path, &how, sizeof how);
}

static u32 folder_of(u32 number, int* fd) {
  struct descriptor* descriptor = opened(number);
  *fd = descriptor->fd;
  return descriptor->kind == FOLDER ? OK : BADF;
}

// Opens what a path names, to ask about it.
static u32 look(u32 number, u32 flags, u32 address, u32 size, int* fd) {
  char* path;
  int folder;
  u32 error = folder_of(number, &folder);
  if (!error) error = copied(address, size, &path);
  if (error) return error;
  *fd = beneath(folder, path, O_PATH | (flags & FOLLOW ? 0 : O_NOFOLLOW), 0);
  error = result(*fd);
  free(path);
  return error;
}

// Opens the folder in which a path's last name is. Leave it.
static u32 enter(u32 number, u32 address, u32 size, struct place* place) {
  int folder;
  u32 error = folder_of(number, &folder);
  if (!error) error = copied(address, size, &place->path);
  if (error) return error;
  char *path = place->path, *end = path + strlen(path);
  while (end > path + 1 && end[-1] == '/' && end[-2] == '/') *--end = 0;
  char* name = end;
  if (end[-1] == '/') name--;
  while (name > path && name[-1] != '/') name--;
  bool up = !strcmp(name, "..") || !strcmp(name, "../");
  if (up || name == path) {
    place->folder = beneath(folder, up ? path : ".", O_PATH | O_DIRECTORY, 0);
  } else {
    char kept = *name;
    *name = 0;
    place->folder = beneath(folder, path, O_PATH | O_DIRECTORY, 0);
    *name = kept;
  }
  place->name = up ? "." : name;
  error = result(place->folder);
  if (error) free(path);
  return error;
}

static u32 leave(struct place* place, u32 error) {
  close(place->folder);
  free(place->path);
  return error;
}

// Returns what is wrong with a slash behind a name; `if_folder` for a folder, or a link to one, and OK without a slash.
static u32 slash(struct place* place, u32 if_folder) {
  if (place->name[strlen(place->name) - 1] != '/') return OK;
  int fd = beneath(place->folder, place->name, O_PATH | O_DIRECTORY, 0);
  if (fd < 0) return failure();
  close(fd);
  return if_folder;
}

// -- what there is to know

static u8 type_of(mode_t mode) {
  return S_ISDIR(mode) ? 3 : S_ISREG(mode) ? 4 : S_ISLNK(mode) ? 7 : S_ISBLK(mode) ? 1 : S_ISCHR(mode) ? 2 : 0;
}

static u32 tell_status(int fd, u32 address) {
  struct stat status;
  if (fstat(fd, &status)) return failure();
  memset(at(address, 64), 0, 64);
  put64(address, status.st_dev);
  put64(address + 8, status.st_ino);
  *at(address + 16, 1) = type_of(status.st_mode);
  put64(address + 24, status.st_nlink);
  put64(address + 32, status.st_size);
  put64(address + 40, nanoseconds(&status.st_atim));
  put64(address + 48, nanoseconds(&status.st_mtim));
  put64(address + 56, nanoseconds(&status.st_ctim));
  return OK;
}

CALL(fd_filestat_get, u32 number, u32 address) {
  struct descriptor* descriptor = opened(number);
  if (descriptor->kind == CLOSED) return BADF;
  if (descriptor->kind >= FILE_) return tell_status(descriptor->fd, address);
  memset(at(address, 64), 0, 64);
  return OK;
}

CALL(path_filestat_get, u32 number, u32 flags, u32 path, u32 size, u32 address) {
  int fd;
  u32 error = look(number, flags, path, size, &fd);
  if (error) return error;
  error = tell_status(fd, address);
  close(fd);
  return error;
}

CALL(fd_fdstat_get, u32 number, u32 address) {
  struct descriptor* descriptor = opened(number);
  enum kind kind = descriptor->kind;
  if (kind == CLOSED) return BADF;
  u64 moves = (descriptor->reads ? READS : 0) | (descriptor->writes ? WRITES : 0);
  int flags = kind == FILE_ ? fcntl(descriptor->fd, F_GETFL) : 0;
  memset(at(address, 24), 0, 24);
  *at(address, 1) = kind == FOLDER ? 3 : kind == FILE_ ? 4 : 0;
  *at(address + 2, 1) = (flags & O_APPEND ? APPEND : 0) | (flags & O_NONBLOCK ? NONBLOCK : 0);
  put64(address + 8, kind == FOLDER ? FOLDER_RIGHTS : kind == FILE_ ? (FILE_RIGHTS & ~(READS | WRITES)) | moves : moves);
  put64(address + 16, kind == FOLDER ? INNER_RIGHTS : kind == FILE_ ? 0 : moves);
  return OK;
}

CALL(fd_prestat_get, u32 number, u32 address) {
  struct descriptor* descriptor = opened(number);
  if (!descriptor->name) return BADF;
  put32(address, 0);
  put32(address + 4, strlen(descriptor->name));
  return OK;
}

CALL(fd_prestat_dir_name, u32 number, u32 address, u32 size) {
  struct descriptor* descriptor = opened(number);
  if (descriptor->kind == CLOSED) return BADF;
  if (!descriptor->name) return NOTDIR;
  u32 length = strlen(descriptor->name);
  if (length > size) return NAMETOOLONG;
  memcpy(at(address, length), descriptor->name, length);
  return OK;
}

// -- descriptors

CALL(fd_close, u32 number) {
  struct descriptor* descriptor = opened(number);
  if (descriptor->kind == CLOSED) return BADF;
  // The host's own streams stay open: no file of the guest is to get their numbers.
  if (descriptor->kind >= FILE_) close(descriptor->fd);
  *descriptor = (struct descriptor){CLOSED, -1};
  return OK;
}

CALL(fd_renumber, u32 from, u32 to) {
  if (opened(from)->kind == CLOSED || opened(to)->kind == CLOSED) return BADF;
  if (from == to) return OK;
  struct descriptor *old = opened(from), *new = opened(to);
  if (new->kind >= FILE_) close(new->fd);
  *new = *old;
  *old = (struct descriptor){CLOSED, -1};
  return OK;
}

CALL(fd_fdstat_set_flags, u32 number, u32 flags) {
  struct descriptor* descriptor = opened(number);
  if (descriptor->kind != FILE_) return BADF;
  if (flags & ~(APPEND | NONBLOCK)) return INVAL;
  return result(fcntl(descriptor->fd, F_SETFL, (flags & APPEND ? O_APPEND : 0) | (flags & NONBLOCK ? O_NONBLOCK : 0)));
}

CALL(fd_fdstat_set_rights, u32 number, u64 base, u64 inheriting) {
  return opened(number)->kind >= FILE_ ? NOTSUP : BADF;
}

// Returns the descriptor of an open file, or an error for what is none.
static u32 file(u32 number, int* fd) {
  struct descriptor* descriptor = opened(number);
  *fd = descriptor->fd;
  return descriptor->kind == FILE_ ? OK : BADF;
}

CALL(fd_advise, u32 number, u64 offset, u64 size, u32 advice) {
  int fd;
  u32 error = file(number, &fd);
  return error ? error : advice > 5 || (s64)offset < 0 || (s64)size < 0 ? INVAL : OK;
}

CALL(fd_allocate, u32 number, u64 offset, u64 size) {
  int fd;
  u32 error = file(number, &fd);
  return error ? error : NOTSUP;
}

CALL(fd_sync, u32 number) {
  int fd;
  u32 error = file(number, &fd);
  return error ? error : result(fsync(fd));
}

CALL(fd_datasync, u32 number) {
  int fd;
  u32 error = file(number, &fd);
  return error ? error : result(fdatasync(fd));
}

CALL(fd_filestat_set_size, u32 number, u64 size) {
  int fd;
  u32 error = file(number, &fd);
  return error ? error : result(ftruncate(fd, size));
}

CALL(fd_seek, u32 number, u64 offset, u32 whence, u32 address) {
  struct descriptor* descriptor = opened(number);
  if (descriptor->kind == READABLE || descriptor->kind == WRITABLE) return SPIPE;
  if (descriptor->kind != FILE_) return BADF;
  if (whence > 2) return INVAL;
  off_t position = lseek(descriptor->fd, offset, (int[]){SEEK_SET, SEEK_CUR, SEEK_END}[whence]);
  if (position < 0) return failure();
  put64(address, position);
  return OK;
}

CALL(fd_tell, u32 number, u32 address) { return w2c_wasi__snapshot__preview1_fd_seek(host, number, 0, 1, address); }

// -- reading and writing

static u32 move(u32 number, u32 vectors, u32 count, bool writes, off_t position, u32 told) {
  struct iovec filled[1024];
  struct descriptor* descriptor = opened(number);
  int used = buffers(vectors, count, filled);
  if (descriptor->kind == FOLDER || !(writes ? descriptor->writes : descriptor->reads)) return BADF;
  if (position >= 0 && descriptor->kind != FILE_) return SPIPE;
  at(told, 4);
  int fd = descriptor->fd;
  ssize_t moved;
  u64 done = 0;
  do {
    moved = position < 0 ? (writes ? writev(fd, filled, used) : readv(fd, filled, used))
                         : (writes ? pwritev(fd, filled, used, position) : preadv(fd, filled, used, position));
    if (moved < 0 && errno == EINTR) continue;
    if (moved < 0) return done ? OK : failure();
    done += moved;
    // A pipe may have taken a part only.
    for (int i = 0; i < used; i++) {
      size_t part = filled[i].iov_len < (size_t)moved ? filled[i].iov_len : (size_t)moved;
      filled[i].iov_base = (u8*)filled[i].iov_base + part;
      filled[i].iov_len -= part;
      moved -= part;
    }
  } while (moved < 0 || (writes && descriptor->kind == WRITABLE && used && filled[used - 1].iov_len));
  put32(told, done);
  return OK;
}

CALL(fd_read, u32 fd, u32 vectors, u32 count, u32 told) { return move(fd, vectors, count, false, -1, told); }
CALL(fd_write, u32 fd, u32 vectors, u32 count, u32 told) { return move(fd, vectors, count, true, -1, told); }

CALL(fd_pread, u32 fd, u32 vectors, u32 count, u64 position, u32 told) {
  return (s64)position < 0 ? INVAL : move(fd, vectors, count, false, position, told);
}

CALL(fd_pwrite, u32 fd, u32 vectors, u32 count, u64 position, u32 told) {
  return (s64)position < 0 ? INVAL : move(fd, vectors, count, true, position, told);
}

CALL(fd_readdir, u32 number, u32 address, u32 size, u64 cookie, u32 told) {
  int folder;
  u32 error = folder_of(number, &folder), used = 0;
  if (error) return error;
  u8* buffer = at(address, size);
  int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* entries = fd < 0 ? NULL : fdopendir(fd);
  if (!entries) return failure();
  struct stat status;
  fstat(fd, &status);
  // The folder itself and what is above it come first, whatever the system's order; neither tells of what is outside.
  for (u64 next = 0; used < size; next++) {
    const char* name = next == 0 ? "." : "..";
    u64 inode = status.st_ino;
    u8 type = 3;
    if (next > 1) {
      struct dirent* entry;
      do entry = readdir(entries);
      while (entry && (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")));
      if (!entry) break;
      name = entry->d_name;
      inode = entry->d_ino;
      type = entry->d_type == DT_DIR ? 3 : entry->d_type == DT_REG ? 4 : entry->d_type == DT_LNK ? 7 : 0;
    }
    if (next < cookie) continue;
    u64 head[3] = {next + 1, inode, strlen(name) | (u64)type << 32};
    for (u32 part = 0; part < 2; part++) {
      u32 whole = part ? strlen(name) : sizeof head, fits = whole < size - used ? whole : size - used;
      memcpy(buffer + used, part ? (void*)name : head, fits);
      used += fits;
    }
  }
  closedir(entries);
  put32(told, used);
  return OK;
}

// -- times

static u32 times_of(u64 accessed, u64 modified, u32 flags, struct timespec times[2]) {
  bool both = (flags & ATIME && flags & ATIME_NOW) || (flags & MTIME && flags & MTIME_NOW);
  if (both || flags > 15) return INVAL;
  times[0] = (struct timespec){accessed / 1000000000, flags & ATIME ? accessed % 1000000000
                                                      : flags & ATIME_NOW ? UTIME_NOW : UTIME_OMIT};
  times[1] = (struct timespec){modified / 1000000000, flags & MTIME ? modified % 1000000000
                                                      : flags & MTIME_NOW ? UTIME_NOW : UTIME_OMIT};
  return OK;
}

CALL(fd_filestat_set_times, u32 number, u64 accessed, u64 modified, u32 flags) {
  struct descriptor* descriptor = opened(number);
  struct timespec times[2];
  if (descriptor->kind < FILE_) return BADF;
  u32 error = times_of(accessed, modified, flags, times);
  return error ? error : result(utimensat(descriptor->fd, "", times, AT_EMPTY_PATH));
}

CALL(path_filestat_set_times, u32 number, u32 follow, u32 path, u32 size, u64 accessed, u64 modified, u32 flags) {
  struct timespec times[2];
  int fd;
  u32 error = look(number, follow, path, size, &fd);
  if (error) return error;
  error = times_of(accessed, modified, flags, times);
  if (!error) error = result(utimensat(fd, "", times, AT_EMPTY_PATH));
  close(fd);
  return error;
}

// -- names

CALL(path_open, u32 number, u32 follow, u32 path, u32 size, u32 how, u64 rights, u64 inheriting, u32 flags, u32 told) {
  char* text;
  int folder;
  struct stat status;
  if (opened(number)->kind == FILE_) return NOTDIR;
  u32 error = folder_of(number, &folder);
  if (!error) error = copied(path, size, &text);
  if (error) return error;
  bool writes = rights & WRITES, reads = rights & READS || !writes;
  u64 asked = (reads && writes ? O_RDWR : writes ? O_WRONLY : O_RDONLY) | (follow & FOLLOW ? 0 : O_NOFOLLOW) | O_NOCTTY |
              (how & CREATE ? O_CREAT : 0) | (how & DIRECTORY ? O_DIRECTORY : 0) | (how & EXCLUSIVE ? O_EXCL : 0) |
              (how & TRUNCATE ? O_TRUNC : 0) | (flags & APPEND ? O_APPEND : 0) | (flags & NONBLOCK ? O_NONBLOCK : 0);
  int fd = -1;
  if (flags & ~(APPEND | NONBLOCK)) error = flags & ~ALL_FLAGS ? INVAL : NOTSUP;
  else if (how & DIRECTORY && how & (CREATE | EXCLUSIVE | TRUNCATE)) error = INVAL;
  else error = result(fd = beneath(folder, text, asked, how & CREATE ? 0666 : 0));
  free(text);
  if (error) return error;
  u32 got;
  fstat(fd, &status);
  bool is_folder = S_ISDIR(status.st_mode);
  struct descriptor taken = {is_folder ? FOLDER : FILE_, fd, reads && !is_folder, writes && !is_folder};
  if (!take(taken, &got)) return MFILE;
  put32(told, got);
  return OK;
}

CALL(path_readlink, u32 number, u32 path, u32 size, u32 address, u32 room, u32 told) {
  char target[PATH_MAX];
  struct stat status;
  int fd;
  u32 error = look(number, 0, path, size, &fd);
  if (error) return error;
  ssize_t length = 0;
  if (!fstat(fd, &status) && !S_ISLNK(status.st_mode)) error = INVAL;
  else error = result(length = readlinkat(fd, "", target, sizeof target));
  close(fd);
  if (error) return error;
  if (length > room) length = room;
  memcpy(at(address, length), target, length);
  put32(told, length);
  return OK;
}

CALL(path_create_directory, u32 number, u32 path, u32 size) {
  struct place place;
  u32 error = enter(number, path, size, &place);
  return error ? error : leave(&place, result(mkdirat(place.folder, place.name, 0777)));
}

CALL(path_remove_directory, u32 number, u32 path, u32 size) {
  struct place place;
  u32 error = enter(number, path, size, &place);
  return error ? error : leave(&place, result(unlinkat(place.folder, place.name, AT_REMOVEDIR)));
}

CALL(path_unlink_file, u32 number, u32 path, u32 size) {
  struct place place;
  u32 error = enter(number, path, size, &place);
  if (error) return error;
  error = slash(&place, ISDIR);
  return leave(&place, error ? error : result(unlinkat(place.folder, place.name, 0)));
}

CALL(path_rename, u32 number, u32 path, u32 size, u32 new_number, u32 new_path, u32 new_size) {
  struct place old, new;
  u32 error = enter(number, path, size, &old);
  if (error) return error;
  error = enter(new_number, new_path, new_size, &new);
  if (error) return leave(&old, error);
  error = result(renameat(old.folder, old.name, new.folder, new.name));
  return leave(&old, leave(&new, error));
}

CALL(path_link, u32 number, u32 follow, u32 path, u32 size, u32 new_number, u32 new_path, u32 new_size) {
  struct place old, new;
  if (follow) return INVAL;
  u32 error = enter(number, path, size, &old);
  if (error) return error;
  error = enter(new_number, new_path, new_size, &new);
  if (error) return leave(&old, error);
  // A slash makes the system follow a link: nothing but a folder can be there, which has no second name.
  error = slash(&old, PERM);
  if (!error) error = result(linkat(old.folder, old.name, new.folder, new.name, 0));
  return leave(&old, leave(&new, error));
}

CALL(path_symlink, u32 target, u32 target_size, u32 number, u32 path, u32 size) {
  char* text;
  struct place place;
  u32 error = copied(target, target_size, &text);
  if (error) return error;
  error = enter(number, path, size, &place);
  if (!error) {
    error = slash(&place, OK);
    if (!error || error == NOENT) error = result(symlinkat(text, place.folder, place.name));
    leave(&place, error);
  }
  free(text);
  return error;
}
