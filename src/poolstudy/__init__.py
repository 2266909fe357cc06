"""poolstudy: average or max pooling? A tracked hyperparameter study of small CNNs."""
