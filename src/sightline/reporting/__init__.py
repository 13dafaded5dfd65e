"""What is drawn: sheets of images, charts and pages, from arrays and records alone."""
