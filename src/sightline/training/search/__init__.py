"""Looking for settings: the learning rate."""
