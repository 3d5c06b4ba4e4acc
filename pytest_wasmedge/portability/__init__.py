"""What outcomes say: cases and their golden files, divergences, leaks. Pure functions; none runs a guest."""
