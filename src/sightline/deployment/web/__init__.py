"""A page that classifies in the browser alone: its files, what it runs on, and the browser that compares it."""
