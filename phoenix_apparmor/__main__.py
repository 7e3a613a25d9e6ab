"""``python3 -m phoenix_apparmor``: the command line, from the source tree too."""

import sys

from phoenix_apparmor.cli import main

sys.exit(main())
