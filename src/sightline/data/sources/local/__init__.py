"""Readers of what lies on the disk or in memory: folders, archives, tables, arrays."""
