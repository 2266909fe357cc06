"""The network: built by Keras, computed by NumPy, its weights."""
