"""Sorting a folder: where each file goes, what is written down before it is touched, and the steps there and back."""
