// The file system of one invocation: folders, files and links in memory, and the way along a path.

import { ERRNO, FILETYPE, Refused } from "./preview1.mjs";

const NAME_BYTES = 255;
const PATH_BYTES = 4095;
const LINKS = 40;

class Node {
  links = 1n;

  constructor(tree) {
    this.tree = tree;
    this.number = ++tree.last;
    this.accessed = this.modified = this.changed = tree.now();
  }
  // What was in it has changed.
  touch() {
    this.modified = this.changed = this.tree.now();
  }
}

export class File extends Node {
  type = FILETYPE.FILE;
  #bytes;

  constructor(tree, bytes = new Uint8Array()) {
    super(tree);
    this.#bytes = bytes;
    this.size = bytes.length;
  }
  bytes() {
    return this.#bytes.subarray(0, this.size);
  }
  read(at, size) {
    return at >= this.size ? new Uint8Array() : this.#bytes.subarray(at, Math.min(at + size, this.size));
  }
  write(at, data) {
    if (data.length > 0) {
      this.#reserve(at + data.length);
      this.#bytes.set(data, at);
      this.size = Math.max(this.size, at + data.length);
    }
    this.touch();
  }
  resize(size) {
    this.#reserve(size);
    this.#bytes.fill(0, Math.min(size, this.size), this.size);
    this.size = size;
    this.touch();
  }
  // The buffer grows by doubling. Behind the file's end it holds zeros, since a hole reads as zeros.
  #reserve(size) {
    const has = this.#bytes.length;
    if (size <= has) return;
    if (size - has > this.tree.left) throw new Refused(ERRNO.NOSPC);
    const larger = new Uint8Array(Math.max(size, has + Math.min(has, this.tree.left)));
    this.tree.left -= larger.length - has;
    larger.set(this.bytes());
    this.#bytes = larger;
  }
}

export class Folder extends Node {
  type = FILETYPE.FOLDER;
  size = 4096;
  children = new Map();
  removed = false;

  put(name, node) {
    if (this.removed) throw new Refused(ERRNO.NOENT);
    this.children.set(name, node);
    this.#count();
    return node;
  }
  take(name) {
    this.children.delete(name);
    this.#count();
  }
  // A folder has a link from above, one from itself, and one from each folder in it.
  #count() {
    this.links = 2n;
    for (const child of this.children.values()) if (child instanceof Folder) this.links++;
    this.touch();
  }
}

export class Link extends Node {
  type = FILETYPE.LINK;

  constructor(tree, target) {
    super(tree);
    this.target = target;
    this.size = new TextEncoder().encode(target).length;
  }
}

// What an invocation's folders have in common: how much may be written, and the guest's time of day.
export class Tree {
  last = 0n;

  constructor(bytes, now) {
    Object.assign(this, { left: bytes, now });
  }

  // Makes a folder of [path, content, modified] for each thing in it, parents first. The content is bytes for a file,
  // the target of a link, or null for a folder; the time it was modified is nanoseconds.
  grow(entries) {
    const root = new Folder(this);
    const made = new Map([["", root]]);
    for (const [path, content, modified] of entries) {
      const [, above, name] = /^(?:(.*)\/)?([^/]*)$/s.exec(path);
      const node = content === null ? new Folder(this)
        : typeof content === "string" ? new Link(this, content) : new File(this, content);
      made.get(above ?? "").put(name, node);
      node.modified = node.changed = BigInt(modified);
      made.set(path, node);
    }
    return root;
  }
}

// Returns [path, content] of all in a folder, parents first.
export function* flat(folder, above = "") {
  for (const [name, node] of folder.children) {
    const path = above + name;
    yield [path, node instanceof File ? node.bytes() : node instanceof Link ? node.target : null];
    if (node instanceof Folder) yield* flat(node, `${path}/`);
  }
}

// Follows a path from a folder, which it may not leave. Returns the folder that it ends in, the name there, and what has
// that name, if anything; ``name`` is null where the path ends in a dot. ``slash``: it asks for a folder; ``linked``: its
// last name is a link's. ``noFolder`` is the error where it asks for a folder and there is a file.
export function find(start, path, follow, noFolder = ERRNO.NOTDIR) {
  check(path);
  const way = [start];
  let steps = parts(path);
  let slash = /(^|\/)\.?$/.test(path);
  let hops = 0;
  let linked = false;
  while (steps.length > 0) {
    const name = steps.shift();
    const last = steps.length === 0;
    const folder = way.at(-1);
    if (name === "..") {
      if (way.length === 1) throw new Refused(ERRNO.PERM);
      way.pop();
      continue;
    }
    const node = folder.children.get(name);
    if (node === undefined) {
      if (!last) throw new Refused(ERRNO.NOENT);
      return { folder, name, node, slash, linked };
    }
    if (node instanceof Link && (!last || follow || slash)) {
      if (++hops > LINKS) throw new Refused(ERRNO.LOOP);
      if (node.target.startsWith("/")) throw new Refused(ERRNO.PERM);
      linked ||= last;
      slash ||= last && /(^|\/)\.?$/.test(node.target);
      steps = [...parts(node.target), ...steps];
      continue;
    }
    if (!(node instanceof Folder) && (!last || slash)) throw new Refused(last ? noFolder : ERRNO.NOTDIR);
    if (last) return { folder, name, node, slash, linked };
    way.push(node);
  }
  return { folder: way.at(-1), name: null, node: way.at(-1), slash, linked };
}

function check(path) {
  const bytes = (text) => (text.length * 3 <= NAME_BYTES ? 0 : new TextEncoder().encode(text).length);
  if (path === "") throw new Refused(ERRNO.NOENT);
  if (path.includes("\0")) throw new Refused(ERRNO.INVAL);
  if (path.startsWith("/")) throw new Refused(ERRNO.PERM);
  if (bytes(path) > PATH_BYTES || path.split("/").some((name) => bytes(name) > NAME_BYTES)) {
    throw new Refused(ERRNO.NAMETOOLONG);
  }
}

const parts = (path) => path.split("/").filter((name) => name !== "" && name !== ".");
