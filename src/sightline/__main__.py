"""`python -m sightline`: the command line where no `sightline` is on the path."""

from __future__ import annotations

import sys

from sightline.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
