"""Fifteen ways in which pictures go bad, at five strengths that grow with the image; NumPy and Pillow alone."""
