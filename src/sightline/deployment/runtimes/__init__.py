"""One module a format of exported files: how it is written, run again, and used without Sightline."""
