"""Looking for settings before a training: the learning rate."""
