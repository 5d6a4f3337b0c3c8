"""``python -m chi``: the same as the ``chi-server`` command."""

import sys

from chi.cli import main

if __name__ == "__main__":
    sys.exit(main())
