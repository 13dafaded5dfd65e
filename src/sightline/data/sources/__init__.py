"""From what a user names to a Dataset."""
