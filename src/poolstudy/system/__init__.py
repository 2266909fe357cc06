"""Files, locks, logs, signals and formats: what knows nothing of studies."""
