"""From what a user names to a Dataset: what goes by a name, and how folders become classes and splits."""
