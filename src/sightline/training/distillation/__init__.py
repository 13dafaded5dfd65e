"""What a small network learns from the answers of a finished bundle."""
