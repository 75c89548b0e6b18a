"""``python -m linfair.evaluate``."""

import sys

from linfair.evaluate import main

sys.exit(main())
