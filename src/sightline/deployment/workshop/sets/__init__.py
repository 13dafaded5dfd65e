"""Sets that are made on the page: pictures written into classes, labelled, corrected, and every change taken back."""
