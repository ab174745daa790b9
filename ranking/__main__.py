"""`python -m ranking …` is `ranking …`."""

import sys

from ranking.cli import main

sys.exit(main(sys.argv[1:]))
