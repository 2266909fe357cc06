"""GPUs, as TensorFlow and NVIDIA's driver see them."""
