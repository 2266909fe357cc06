"""Images of a data set: downloaded if they are missing, verified, split."""
