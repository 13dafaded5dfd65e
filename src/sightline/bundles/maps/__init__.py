"""Which places of an image speak for a class: maps that add up to the logit, or what covering a place changes."""
