"""`python -m estimator` is the command `estimator`."""

import sys

from estimator.cli import main

sys.exit(main())
