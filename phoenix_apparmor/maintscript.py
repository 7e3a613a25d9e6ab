"""Steps of the package's maintainer scripts that are more than a line of shell."""

from collections.abc import Sequence


def main(_arguments: Sequence[str]) -> int:
    """maintscript configure|remove: see the maintainer scripts; exit status."""
    return 0
