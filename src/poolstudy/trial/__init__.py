"""One trial in a worker process: trained, saved, drawn."""
