"""The page of what a sorting would do, before it does it."""
