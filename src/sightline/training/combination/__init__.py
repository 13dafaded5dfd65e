"""Finished runs made into one."""
