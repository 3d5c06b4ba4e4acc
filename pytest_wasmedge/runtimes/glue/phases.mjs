// Measures the phases of a host's start, in nanoseconds.

// ``phase(name)`` ends a phase. It began when the one before ended; the first one begins with the stopwatch.
export function stopwatch() {
  const phases_ns = {};
  let began = performance.now();
  const phase = (name) => {
    const now = performance.now();
    phases_ns[name] = Math.round((now - began) * 1e6);
    began = now;
  };
  return { phases_ns, phase };
}
