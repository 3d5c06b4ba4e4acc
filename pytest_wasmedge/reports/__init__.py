"""The record of a run, and the reports that show it."""
