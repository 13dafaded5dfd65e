"""The steps of training, one by one, and `train` itself."""
