"""Whether confidences come true: what corrects them, how far off they are, and what chance alone would show."""
