"""Files, locks, logs, signals and formats; nothing here depends on studies."""
