"""Sheets of captioned images, drawn with Pillow alone."""
