"""Work: exact counts of what the guest does, which are the same on every machine and at any load."""
