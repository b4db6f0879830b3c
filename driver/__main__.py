"""`netc` and `python -m netc`: the command line."""

import importlib
import sys


def main() -> int:
    """Run the command line; an interrupt while it is being imported is as quiet as any later one."""
    try:
        cli = importlib.import_module("netc.cli")
    except KeyboardInterrupt:
        return 130
    code: int = cli.main()
    return code


if __name__ == "__main__":
    sys.exit(main())
