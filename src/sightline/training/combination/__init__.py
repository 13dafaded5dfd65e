"""Finished runs made into one: their shared rows, their weights, their networks opened again."""
