"""All that knows pytest: hooks, options, fixtures, and what one run is about."""
