"""`netc` and `python -m netc`: the command line."""

import sys

from netc.cli import main

if __name__ == "__main__":
    sys.exit(main())
