"""``python -m stompy`` is the command ``stompy``."""

import sys

from stompy.cli import main

if __name__ == "__main__":
    sys.exit(main())
