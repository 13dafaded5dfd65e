"""Mathematics on arrays: scores, intervals, calibration; NumPy alone, no images, no files."""
