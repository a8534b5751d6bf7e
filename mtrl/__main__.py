"""`python -m mtrl`, the same as the command `mtrl`."""

import sys

from mtrl.cli import main

sys.exit(main())
