"""GPUs as TensorFlow and NVIDIA's driver report them."""
