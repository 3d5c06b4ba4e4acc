// How long each phase of a host's start took, in nanoseconds.

// ``phase(name)`` ends the phase that began with the end of the one before; the first began with the stopwatch.
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
