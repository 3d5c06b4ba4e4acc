// The calls that take a path in an open folder. The answers are wasmtime's.

import { OpenFile, OpenFolder, checkTimes, refuse, setTimes, writeStat } from "./descriptors.mjs";
import { ERRNO, FDFLAGS, OFLAGS, RIGHTS } from "./preview1.mjs";
import { File, Folder, Link, find } from "./tree.mjs";

const FOLLOW = 1;

// ``table`` has what is open at its number.
export function pathCalls(table, memory) {
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

  function text(at, length) {
    const bytes = new Uint8Array(memory().buffer, at, length);
    try {
      return decoder.decode(bytes);
    } catch {
      return refuse(ERRNO.ILSEQ);
    }
  }
  const folder = (fd) => (table[fd]?.isFolder ? table[fd].node : refuse(ERRNO.BADF));
  // The lowest number that is free.
  function give(opened) {
    let fd = 0;
    while (table[fd] !== undefined) fd++;
    table[fd] = opened;
    return fd;
  }

  return {
    path_create_directory(fd, at, length) {
      const found = find(folder(fd), text(at, length), false);
      if (found.node) return ERRNO.EXIST;
      found.folder.put(found.name, new Folder(found.folder.tree));
      return ERRNO.SUCCESS;
    },

    path_filestat_get(fd, flags, at, length, into) {
      writeStat(memory(), into, existing(folder(fd), text(at, length), flags & FOLLOW).node);
      return ERRNO.SUCCESS;
    },

    path_filestat_set_times(fd, flags, at, length, accessed, modified, which) {
      checkTimes(which);
      setTimes(existing(folder(fd), text(at, length), flags & FOLLOW).node, accessed, modified, which);
      return ERRNO.SUCCESS;
    },

    path_link(fd, flags, at, length, newFd, newAt, newLength) {
      const [from, to] = [folder(fd), folder(newFd)];
      if (flags & FOLLOW) return ERRNO.INVAL;
      const { node } = existing(from, text(at, length), false);
      const found = find(to, text(newAt, newLength), false);
      if (found.node) return ERRNO.EXIST;
      if (found.slash) return ERRNO.NOENT;
      if (node instanceof Folder) return ERRNO.PERM;
      found.folder.put(found.name, node);
      node.links++;
      return ERRNO.SUCCESS;
    },

    path_open(fd, lookup, at, length, oflags, rights, inheriting, flags, into) {
      if (table[fd]?.isFile) return ERRNO.NOTDIR;
      const start = folder(fd);
      const path = text(at, length);
      if (oflags & OFLAGS.DIRECTORY && oflags & ~OFLAGS.DIRECTORY) return ERRNO.INVAL;
      if (flags & (FDFLAGS.DSYNC | FDFLAGS.RSYNC | FDFLAGS.SYNC)) return ERRNO.NOTSUP;
      const opened = open(start, path, { follow: lookup & FOLLOW, oflags, rights, flags });
      memory().setUint32(into, give(opened), true);
      return ERRNO.SUCCESS;
    },

    path_readlink(fd, at, length, into, room, used) {
      const { node } = existing(folder(fd), text(at, length), false);
      if (!(node instanceof Link)) return ERRNO.INVAL;
      const target = new TextEncoder().encode(node.target).subarray(0, room);
      new Uint8Array(memory().buffer, into, room).set(target);
      memory().setUint32(used, target.length, true);
      return ERRNO.SUCCESS;
    },

    path_remove_directory(fd, at, length) {
      const { folder: above, name, node, linked } = existing(folder(fd), text(at, length), false);
      if (name === null) return ERRNO.INVAL;
      // What is found behind a link has another name.
      if (!(node instanceof Folder) || linked) return ERRNO.NOTDIR;
      if (node.children.size > 0) return ERRNO.NOTEMPTY;
      above.take(name);
      node.removed = true;
      return ERRNO.SUCCESS;
    },

    path_rename(fd, at, length, newFd, newAt, newLength) {
      const [from, to] = [folder(fd), folder(newFd)];
      return rename(existing(from, text(at, length), false), find(to, text(newAt, newLength), false));
    },

    path_symlink(at, length, fd, newAt, newLength) {
      const [target, start] = [text(at, length), folder(fd)];
      if (target === "") return ERRNO.NOENT;
      if (target.startsWith("/")) return ERRNO.PERM;
      const found = find(start, text(newAt, newLength), false);
      if (found.node) return ERRNO.EXIST;
      if (found.slash) return ERRNO.NOENT;
      found.folder.put(found.name, new Link(found.folder.tree, target));
      return ERRNO.SUCCESS;
    },

    path_unlink_file(fd, at, length) {
      const { folder: above, name, node } = existing(folder(fd), text(at, length), false);
      if (node instanceof Folder) return ERRNO.ISDIR;
      above.take(name);
      node.links--;
      return ERRNO.SUCCESS;
    },
  };
}

function existing(start, path, follow) {
  const found = find(start, path, follow);
  return found.node ? found : refuse(ERRNO.NOENT);
}

function open(start, path, { follow, oflags, rights, flags }) {
  const writable = (rights & RIGHTS.FD_WRITE) !== 0n;
  const readable = !writable || (rights & RIGHTS.FD_READ) !== 0n;
  const exclusive = oflags & OFLAGS.CREAT && oflags & OFLAGS.EXCL;
  const found = find(start, path, follow && !exclusive, oflags & OFLAGS.CREAT ? ERRNO.ISDIR : ERRNO.NOTDIR);
  if (oflags & OFLAGS.CREAT && found.slash) refuse(ERRNO.ISDIR);
  if (found.node && exclusive) refuse(ERRNO.EXIST);
  if (!found.node && !(oflags & OFLAGS.CREAT)) refuse(ERRNO.NOENT);
  const node = found.node ?? found.folder.put(found.name, new File(found.folder.tree));
  if (node instanceof Link) refuse(ERRNO.LOOP);
  if (node instanceof Folder) {
    if (writable || oflags & (OFLAGS.CREAT | OFLAGS.TRUNC)) refuse(ERRNO.ISDIR);
    return new OpenFolder(node);
  }
  if (oflags & OFLAGS.DIRECTORY) refuse(ERRNO.NOTDIR);
  if (oflags & OFLAGS.TRUNC) node.resize(0);
  return new OpenFile(node, readable, writable, flags);
}

function rename(from, to) {
  if (from.name === null || to.name === null) return ERRNO.BUSY;
  if (from.node === to.node) return ERRNO.SUCCESS;
  if (from.node instanceof Folder) {
    if (to.folder === from.node || within(from.node, to.folder)) return ERRNO.INVAL;
    if (to.node && !(to.node instanceof Folder)) return ERRNO.NOTDIR;
    if (to.node?.children.size > 0) return ERRNO.NOTEMPTY;
  } else {
    if (to.node instanceof Folder) return ERRNO.ISDIR;
    if (to.slash) return ERRNO.NOTDIR;
  }
  to.folder.put(to.name, from.node);
  from.folder.take(from.name);
  if (to.node instanceof Folder) to.node.removed = true;
  else if (to.node) to.node.links--;
  from.node.changed = from.node.tree.now();
  return ERRNO.SUCCESS;
}

function within(above, folder) {
  const folders = [...above.children.values()].filter((each) => each instanceof Folder);
  return folders.some((each) => each === folder || within(each, folder));
}
