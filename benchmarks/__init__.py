"""Speed and memory, compared with other tools: `python -m benchmarks`, which is `make bench`."""
