"""The pytest plugin: hooks, options, fixtures, and what belongs to one run."""
