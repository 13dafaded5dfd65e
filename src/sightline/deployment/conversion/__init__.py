"""Formats of exported files, and the gate that each of them has to pass."""
