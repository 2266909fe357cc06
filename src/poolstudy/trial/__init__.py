"""One trial in a worker process: training, saving and rendering."""
