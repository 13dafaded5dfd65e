"""Learning from a finished bundle's answers."""
