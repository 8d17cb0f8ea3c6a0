"""The fault matrix: what may break around a run, and what has to be left of it."""
