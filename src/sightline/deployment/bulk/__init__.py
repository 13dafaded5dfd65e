"""Answers to any number of images, into one file: what is to be read, and the step that answers a part of it."""
