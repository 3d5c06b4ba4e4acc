"""Many invocations on all runtimes whose hosts last, with faults injected by a seed; `make soak` runs it."""
