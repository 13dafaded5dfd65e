"""Answers as rows of plain values, and the files that such rows are written to."""
