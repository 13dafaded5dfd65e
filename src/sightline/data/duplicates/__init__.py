"""Which images are copies of which."""
