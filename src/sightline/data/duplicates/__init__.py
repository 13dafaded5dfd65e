"""Which images are copies of which: the same bytes, the same pixels, or nearly so."""
