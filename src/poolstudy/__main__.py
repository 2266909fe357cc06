"""`python -m poolstudy`."""

import sys

from poolstudy.cli import main

sys.exit(main())
