"""The machine: its files, processors, terminals and libraries. Nothing here knows what an image is."""
