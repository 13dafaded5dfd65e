"""Who is let in, and until when."""
