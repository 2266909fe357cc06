"""Whether this machine has what a study needs, and whether databases and files agree."""
