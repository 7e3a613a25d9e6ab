"""The bench that compares two policies finds what one of them allows more, and nothing else."""

from pathlib import Path

import pytest

from tests.bench.wider import wider
from tests.unit.policydfa import PARSER, Automaton, compile_rules

pytestmark = pytest.mark.skipif(not Path(PARSER).exists(), reason="needs apparmor_parser")
BIND = "mount options=bind /a/ -> /b/,"


def compiled(rules: str, folder: Path) -> tuple[Automaton, Automaton]:
    mounts, files = compile_rules(f"file,\n{rules}", folder)
    return mounts, files


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        (f"{BIND}\ndeny mount fstype=proc,", f"{BIND}\naudit deny mount fstype=proc,", []),
        (BIND, "deny mount,", [b"/b/\0/a/\0\0\r"]),
        ("mount fstype=ov* -> /b/,\n", "mount fstype=overlay* -> /b/,\n", []),
        ("umount /b/,", "umount /c/,", [b"/b/"]),
    ],
)
def test_mounts(tmp_path: Path, ours: str, theirs: str, expected: list[bytes]) -> None:
    one, other = compiled(ours, tmp_path)[0], compiled(theirs, tmp_path)[0]
    assert list(wider(one, other, mounts=True)) == expected


def test_files(tmp_path: Path) -> None:
    more, less = compiled("deny /a/b w,", tmp_path)[1], compiled("deny /a/{b,c} w,", tmp_path)[1]
    assert next(wider(more, less, mounts=False)) == b"/a/c"
    assert list(wider(less, more, mounts=False)) == []
