// The numbers of WASI preview 1 that our files need.

export const ERRNO = {
  SUCCESS: 0, BADF: 8, BUSY: 10, EXIST: 20, ILSEQ: 25, INVAL: 28, ISDIR: 31, LOOP: 32, NAMETOOLONG: 37,
  NOENT: 44, NOSPC: 51, NOTDIR: 54, NOTEMPTY: 55, NOTSOCK: 57, NOTSUP: 58, PERM: 63, SPIPE: 70,
};
export const FILETYPE = { UNKNOWN: 0, FOLDER: 3, FILE: 4, LINK: 7 };
export const OFLAGS = { CREAT: 1, DIRECTORY: 2, EXCL: 4, TRUNC: 8 };
export const FDFLAGS = { APPEND: 1, DSYNC: 2, NONBLOCK: 4, RSYNC: 8, SYNC: 16 };
export const FSTFLAGS = { ATIM: 1, ATIM_NOW: 2, MTIM: 4, MTIM_NOW: 8 };
export const EVENTTYPE = { CLOCK: 0, FD_READ: 1, FD_WRITE: 2 };
export const RIGHTS = { FD_READ: 1n << 1n, FD_WRITE: 1n << 6n, FD_READDIR: 1n << 14n };

// What ends a call with an error number.
export class Refused extends Error {
  constructor(errno) {
    super(`error ${errno}`);
    this.errno = errno;
  }
}
