"""How long starts take: sampling drives hosts; judging comes from what was sampled."""
