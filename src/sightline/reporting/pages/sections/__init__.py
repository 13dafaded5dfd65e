"""Sections of a report that are computed once and kept beside the run: drawn from the plain values that were kept."""
