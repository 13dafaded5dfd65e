"""Where images lie and how they are found again: folders, archives, the bytes of a row, what is kept of it."""
