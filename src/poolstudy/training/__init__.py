"""Training one trial. Knows Keras and TensorFlow; knows no tracker and no sampler."""
