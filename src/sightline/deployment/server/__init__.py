"""A bundle behind HTTP: what is let in, how images are read and answered together, and what other programs ask."""
