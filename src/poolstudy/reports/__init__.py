"""Runs and studies, shown: in the terminal, as pages, as pictures."""
