"""From a fitted network to a sealed bundle."""
