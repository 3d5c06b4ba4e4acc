// poll_oneoff: waits for clocks, and tells which descriptors can be read or written.
//
// No descriptor ever makes a guest wait: what it reads is here when it starts, and what it writes always has room. So
// one subscription to a descriptor is enough for an answer at once; clocks are waited for where there are clocks alone.

import { ERRNO, EVENTTYPE } from "./preview1.mjs";

const SUBSCRIPTION_BYTES = 48;
const EVENT_BYTES = 32;
const ABSOLUTE = 1;

// ``now(id)`` is the time of a clock in nanoseconds, undefined if there is none; ``wait(ns)`` lets so much pass;
// ``descriptor(fd)`` is one that is open. ``memory()`` is the guest's.
export function pollCall(memory, { now, wait, descriptor }) {
  return function poll_oneoff(subscriptions, events, count, happened) {
    if (count === 0) return ERRNO.INVAL;
    const view = memory();
    const asked = Array.from({ length: count }, (_, i) => subscription(view, subscriptions + i * SUBSCRIPTION_BYTES));
    if (asked.some(({ type }) => type > EVENTTYPE.FD_WRITE)) return ERRNO.INVAL;
    let came = asked.filter(({ type }) => type !== EVENTTYPE.CLOCK).map((each) => readiness(each, descriptor(each.fd)));
    if (came.length === 0) {
      const times = asked.map((each) => now(each.clock));
      if (times.includes(undefined)) return ERRNO.INVAL;
      const left = asked.map(({ absolute, timeout }, i) => (absolute ? timeout - times[i] : timeout));
      const least = left.reduce((a, b) => (a < b ? a : b));
      if (least > 0n) wait(least);
      came = asked.filter((_, i) => left[i] <= least || left[i] <= 0n);
    }
    came.forEach((event, i) => write(memory(), events + i * EVENT_BYTES, event));
    memory().setUint32(happened, came.length, true);
    return ERRNO.SUCCESS;
  };
}

function subscription(view, at) {
  const [userdata, type] = [view.getBigUint64(at, true), view.getUint8(at + 8)];
  const [fd, timeout] = [view.getUint32(at + 16, true), view.getBigUint64(at + 24, true)];
  return { userdata, type, fd, clock: fd, timeout, absolute: view.getUint16(at + 40, true) & ABSOLUTE };
}

// An end that nobody writes to any more has hung up, once everything is read.
function readiness({ userdata, type, fd }, descriptor) {
  const can = type === EVENTTYPE.FD_READ ? descriptor?.readable : descriptor?.writable;
  if (!can) return { userdata, type, error: ERRNO.BADF };
  const bytes = type === EVENTTYPE.FD_READ ? descriptor.waiting() : 1;
  return { userdata, type, bytes, hangup: descriptor.isPipe && bytes === 0 };
}

function write(view, at, { userdata, type, error = ERRNO.SUCCESS, bytes = 0, hangup = false }) {
  view.setBigUint64(at, userdata, true);
  view.setUint16(at + 8, error, true);
  view.setUint32(at + 10, 0, true);
  view.setUint8(at + 10, type);
  view.setUint16(at + 14, 0, true);
  view.setBigUint64(at + 16, BigInt(bytes), true);
  view.setBigUint64(at + 24, hangup ? 1n : 0n, true);
}
