"""The conformance suite: one file per subject, run on every selected runtime."""
