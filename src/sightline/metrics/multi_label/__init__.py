"""Images with several labels: what is found of each, thresholds, calibration, and how much is missed."""
