"""Work on the machines of a Ray cluster: pieces of it go there by name, and come back in order."""
