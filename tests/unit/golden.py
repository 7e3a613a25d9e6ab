"""Whole outputs in files that a person can read: tests/unit/golden/NAME.

PHOENIX_WRITE_GOLDEN=1 writes them anew; git diff then shows what changed.
"""

import os
from pathlib import Path

FOLDER = Path(__file__).parent / "golden"


def assert_golden(name: str, text: str, root: Path | None = None) -> None:
    """Compares with the file; the fake host's root, which differs each time, reads ROOT."""
    if root is not None:
        text = text.replace(str(root), "ROOT")
    path = FOLDER / name
    if os.environ.get("PHOENIX_WRITE_GOLDEN"):
        FOLDER.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()
