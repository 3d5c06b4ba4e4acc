"""Renders a finished record of a run; computes nothing."""
