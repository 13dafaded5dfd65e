"""Mathematics on arrays: scores, intervals, calibration, and the table of figures; NumPy alone, no images, no files."""
