// The guest's standard streams.

import { ERRNO, RIGHTS } from "./preview1.mjs";

export class OutputLimitReached extends Error {}

const refused = (errno) => ({ ret: errno, data: new Uint8Array(), nwritten: 0, offset: 0n });

// A standard stream that is a pipe: it has no position, and its file type is unknown, since guests colour their
// messages for a terminal. The shim asks it to read and write.
class Pipe {
  isPipe = true;

  fd_close() {
    return ERRNO.SUCCESS;
  }
  fd_read() {
    return refused(ERRNO.BADF);
  }
  fd_write() {
    return refused(ERRNO.BADF);
  }
  fd_pread() {
    return refused(this.readable ? ERRNO.SPIPE : ERRNO.BADF);
  }
  fd_pwrite() {
    return refused(this.writable ? ERRNO.SPIPE : ERRNO.BADF);
  }
  fd_seek() {
    return refused(ERRNO.SPIPE);
  }
  fd_tell() {
    return refused(ERRNO.SPIPE);
  }
}

export class Input extends Pipe {
  readable = true;
  rights = RIGHTS.FD_READ;
  inheriting = RIGHTS.FD_READ;

  constructor(bytes) {
    super();
    this.rest = bytes;
  }
  waiting() {
    return this.rest.length;
  }
  fd_read(size) {
    const data = this.rest.subarray(0, size);
    this.rest = this.rest.subarray(data.length);
    return { ret: ERRNO.SUCCESS, data };
  }
}

// The buffer grows by doubling, since a guest may write millions of small pieces.
export class Output extends Pipe {
  writable = true;
  rights = RIGHTS.FD_WRITE;
  inheriting = RIGHTS.FD_WRITE;
  buffer = new Uint8Array(4096);
  length = 0;

  constructor(budget) {
    super();
    this.budget = budget;
  }
  fd_write(data) {
    if (data.length > this.budget.left) {
      throw new OutputLimitReached(`output limit of ${this.budget.total} bytes reached`);
    }
    this.budget.left -= data.length;
    const length = this.length + data.length;
    if (length > this.buffer.length) {
      const larger = new Uint8Array(Math.max(length, 2 * this.buffer.length));
      larger.set(this.buffer.subarray(0, this.length));
      this.buffer = larger;
    }
    // A copy, since the guest will overwrite its memory.
    this.buffer.set(data, this.length);
    this.length = length;
    return { ret: ERRNO.SUCCESS, nwritten: data.length };
  }
  bytes() {
    return this.buffer.subarray(0, this.length);
  }
}
