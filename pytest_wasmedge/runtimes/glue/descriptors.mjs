// What a guest has open, and the calls that take a descriptor. The answers are wasmtime's.

import { ERRNO, FDFLAGS, FILETYPE, FSTFLAGS, RIGHTS, Refused } from "./preview1.mjs";

const WHENCE = { SET: 0, CUR: 1, END: 2 };
const ADVICES = 6;
const ALL_RIGHTS = 0x3fffffffn;
// What wasmtime does not let a folder do: seek, write, and set a size.
const FOLDER_RIGHTS = 0x3fb7ffbbn;
const PREOPEN_RIGHTS = [0x07b7fe00n, 0x0ff7ffffn];
const DIRENT_BYTES = 24;
const DEVICE = 1n;
const STREAM = { number: 0n, type: FILETYPE.UNKNOWN, links: 0n, size: 0, accessed: 0n, modified: 0n, changed: 0n };

const refused = (errno) => ({ ret: errno, data: new Uint8Array(), nwritten: 0, offset: 0n });

// An open file. The shim asks it to read and write.
export class OpenFile {
  isFile = true;
  position = 0;

  constructor(node, readable, writable, flags) {
    Object.assign(this, { node, readable, writable, flags });
    const denied = (readable ? 0n : RIGHTS.FD_READ | RIGHTS.FD_READDIR) | (writable ? 0n : RIGHTS.FD_WRITE);
    this.rights = this.inheriting = ALL_RIGHTS & ~denied;
  }
  waiting() {
    return Math.max(0, this.node.size - this.position);
  }
  fd_close() {
    return ERRNO.SUCCESS;
  }
  fd_pread(size, offset) {
    if (!this.readable) return refused(ERRNO.BADF);
    return { ret: ERRNO.SUCCESS, data: this.node.read(place(offset), size) };
  }
  fd_read(size) {
    if (!this.readable) return refused(ERRNO.BADF);
    const data = this.node.read(this.position, size);
    this.position += data.length;
    return { ret: ERRNO.SUCCESS, data };
  }
  // In append mode both write at the end, as on Linux.
  fd_pwrite(data, offset) {
    if (!this.writable) return refused(ERRNO.BADF);
    this.node.write(this.flags & FDFLAGS.APPEND ? this.node.size : place(offset), data);
    return { ret: ERRNO.SUCCESS, nwritten: data.length };
  }
  fd_write(data) {
    if (!this.writable) return refused(ERRNO.BADF);
    if (this.flags & FDFLAGS.APPEND) this.position = this.node.size;
    this.node.write(this.position, data);
    this.position += data.length;
    return { ret: ERRNO.SUCCESS, nwritten: data.length };
  }
  fd_seek(offset, whence) {
    const from = { [WHENCE.SET]: 0, [WHENCE.CUR]: this.position, [WHENCE.END]: this.node.size }[whence];
    const position = from === undefined ? -1 : from + Number(offset);
    if (position < 0) return refused(ERRNO.INVAL);
    this.position = position;
    return { ret: ERRNO.SUCCESS, offset: BigInt(position) };
  }
  fd_tell() {
    return { ret: ERRNO.SUCCESS, offset: BigInt(this.position) };
  }
}

// An open folder. ``preopened`` is the name that the guest knows it by, if it was open from the beginning.
export class OpenFolder {
  isFolder = true;
  flags = 0;
  rights = FOLDER_RIGHTS;
  inheriting = FOLDER_RIGHTS;

  constructor(node, preopened = null) {
    this.node = node;
    if (preopened !== null) {
      this.preopened = new TextEncoder().encode(preopened);
      [this.rights, this.inheriting] = PREOPEN_RIGHTS;
    }
  }
  fd_close() {
    return ERRNO.SUCCESS;
  }
}
for (const call of ["fd_read", "fd_write", "fd_pread", "fd_pwrite", "fd_seek", "fd_tell"]) {
  OpenFolder.prototype[call] = () => refused(ERRNO.BADF);
}

// Positions in JavaScript's numbers; none of our files gets as long as those are exact.
const place = (offset) => Number(BigInt.asUintN(64, offset));

// ``table`` has what is open at its number, and undefined or nothing elsewhere.
export function descriptorCalls(table, memory) {
  const at = (fd) => table[fd] ?? refuse(ERRNO.BADF);
  const file = (fd) => (at(fd).isFile ? at(fd) : refuse(ERRNO.BADF));
  const node = (fd) => at(fd).node ?? refuse(ERRNO.BADF);
  const socket = (fd) => (at(fd), ERRNO.NOTSOCK);

  return {
    fd_advise: (fd, offset, length, advice) => (file(fd), advice < ADVICES ? ERRNO.SUCCESS : ERRNO.INVAL),
    fd_allocate: (fd) => (file(fd), ERRNO.NOTSUP),
    fd_datasync: (fd) => (file(fd), ERRNO.SUCCESS),
    fd_sync: (fd) => (file(fd), ERRNO.SUCCESS),

    fd_fdstat_get(fd, into) {
      const { node, flags = 0, rights, inheriting } = at(fd);
      memory().setUint16(into, node?.type ?? FILETYPE.UNKNOWN, true);
      memory().setUint32(into + 2, flags, true);
      memory().setBigUint64(into + 8, rights, true);
      memory().setBigUint64(into + 16, inheriting, true);
      return ERRNO.SUCCESS;
    },
    fd_fdstat_set_flags(fd, flags) {
      if (flags & ~(FDFLAGS.APPEND | FDFLAGS.NONBLOCK)) return file(fd), ERRNO.INVAL;
      file(fd).flags = flags;
      return ERRNO.SUCCESS;
    },
    fd_fdstat_set_rights: (fd) => (node(fd), ERRNO.NOTSUP),

    fd_filestat_get(fd, into) {
      writeStat(memory(), into, at(fd).node);
      return ERRNO.SUCCESS;
    },
    fd_filestat_set_size(fd, size) {
      if (!file(fd).writable) return ERRNO.INVAL;
      file(fd).node.resize(place(size));
      return ERRNO.SUCCESS;
    },
    fd_filestat_set_times(fd, accessed, modified, flags) {
      checkTimes(flags);
      setTimes(node(fd), accessed, modified, flags);
      return ERRNO.SUCCESS;
    },

    fd_prestat_get(fd, into) {
      const { length } = at(fd).preopened ?? refuse(ERRNO.BADF);
      memory().setUint32(into, 0, true);
      memory().setUint32(into + 4, length, true);
      return ERRNO.SUCCESS;
    },
    fd_prestat_dir_name(fd, into, length) {
      const name = at(fd).preopened ?? refuse(ERRNO.NOTDIR);
      if (name.length > length) return ERRNO.NAMETOOLONG;
      new Uint8Array(memory().buffer, into, length).set(name);
      return ERRNO.SUCCESS;
    },

    fd_readdir(fd, into, length, cookie, used) {
      const folder = at(fd).isFolder ? at(fd).node : refuse(ERRNO.BADF);
      memory().setUint32(used, fill(new Uint8Array(memory().buffer, into, length), folder, cookie), true);
      return ERRNO.SUCCESS;
    },

    fd_renumber(from, to) {
      const moved = at(from);
      at(to);
      if (from !== to) [table[from], table[to]] = [undefined, moved];
      return ERRNO.SUCCESS;
    },

    sock_accept: socket,
    sock_recv: socket,
    sock_send: socket,
    sock_shutdown: socket,
  };
}

export function refuse(errno) {
  throw new Refused(errno);
}

// ``node`` is undefined for a stream.
export function writeStat(view, at, node) {
  const { number, type, links, size, accessed, modified, changed } = node ?? STREAM;
  const numbers = [node ? DEVICE : 0n, number, BigInt(type), links, BigInt(size), accessed, modified, changed];
  numbers.forEach((number, i) => view.setBigUint64(at + 8 * i, number, true));
}

export function checkTimes(flags) {
  const both = (one, other) => flags & one && flags & other;
  if (both(FSTFLAGS.ATIM, FSTFLAGS.ATIM_NOW) || both(FSTFLAGS.MTIM, FSTFLAGS.MTIM_NOW)) refuse(ERRNO.INVAL);
}

export function setTimes(node, accessed, modified, flags) {
  const now = node.tree.now();
  if (flags & FSTFLAGS.ATIM) node.accessed = BigInt.asUintN(64, accessed);
  if (flags & FSTFLAGS.ATIM_NOW) node.accessed = now;
  if (flags & FSTFLAGS.MTIM) node.modified = BigInt.asUintN(64, modified);
  if (flags & FSTFLAGS.MTIM_NOW) node.modified = now;
  node.changed = now;
}

// Writes the folder's entries from the cookie on, the last one as far as it fits; returns how many bytes that are.
function fill(into, folder, cookie) {
  const entries = [[".", folder], ["..", folder], ...folder.children];
  let used = 0;
  for (let i = place(cookie); i < entries.length && used < into.length; i++) {
    const [name, { number, type }] = entries[i];
    const text = new TextEncoder().encode(name);
    const entry = new Uint8Array(DIRENT_BYTES + text.length);
    const view = new DataView(entry.buffer);
    view.setBigUint64(0, BigInt(i + 1), true);
    view.setBigUint64(8, number, true);
    view.setUint32(16, text.length, true);
    view.setUint32(20, type, true);
    entry.set(text, DIRENT_BYTES);
    into.set(entry.subarray(0, into.length - used), used);
    used = Math.min(into.length, used + entry.length);
  }
  return used;
}
