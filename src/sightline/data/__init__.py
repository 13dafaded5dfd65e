"""Bytes to arrays: sources of labelled images, their splits, and the one decoder and one resize for all of them."""
