"""Reproducing a run and judging the result."""
