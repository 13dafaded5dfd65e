"""What can be asked for: names, networks, and the recipe with its keys, from words to a checked record."""
