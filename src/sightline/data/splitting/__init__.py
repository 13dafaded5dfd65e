"""Train, validation, calibration and test, with what belongs together in one of them."""
