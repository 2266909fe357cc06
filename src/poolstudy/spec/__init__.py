"""Settings of a study and values that describe a trial, validated once."""
