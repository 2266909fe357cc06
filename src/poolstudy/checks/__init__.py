"""Checks of the machine (`check`) and of a project's databases and files (`doctor`)."""
