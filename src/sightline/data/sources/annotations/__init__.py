"""Readers of what labelling tools write beside images; each is told from its content."""
