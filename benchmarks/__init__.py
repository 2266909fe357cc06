"""Speed and memory beside what people use: `python -m benchmarks`, which is `make bench`."""
