"""What anyone can run to see whether the plugin measures and judges right: see the Makefile's ``bench-…``."""
