"""The page of a search: what was chosen, what that is worth, and all that was tried."""
