"""What may be wrong with a source of labelled images, found before a network learns from it."""
