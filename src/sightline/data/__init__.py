"""From bytes to arrays: labelled images as a lazy table, decoded and resized in one way, divided without leaks."""
