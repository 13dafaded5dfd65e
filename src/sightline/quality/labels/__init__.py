"""Labels that may be worth a second look: found by what a frozen network sees, never called wrong."""
