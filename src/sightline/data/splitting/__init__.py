"""Train, validation, calibration and test."""
