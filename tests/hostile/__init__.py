"""What a hostile artifact may do, tried on every runtime; `make hostile` runs it."""
