"""Making a run again, and the verdict on it."""
