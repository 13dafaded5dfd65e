"""Optimizers, schedules, losses, normalisation."""
