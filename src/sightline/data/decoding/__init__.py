"""From the bytes of a file to pixels: what it is, what it costs, which way is up, and the one decoder and resize."""
