"""What is said where a share cannot be locked, and that doing what it says helps."""

from pathlib import Path

import pytest

from tests.unit.share_scenes import HIDDEN, IN_A_SHARE, NOTHING, REMOUNTED, only_root, tried


@only_root
@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("twice", "two mounts are at {0}. Remove one of the lines that mount at {0}"),
        pytest.param(
            "over", "the line of {0} has to be the first", marks=pytest.mark.slow
        ),  # it waits
    ],
)
def test_what_is_hidden_in_a_share(kind: str, says: str, disk: Path) -> None:
    status, told, _ = tried(f"{kind} wrong", disk, script=HIDDEN)
    assert status == "1"
    assert says.format(f"{disk}/{kind}-wrong/ct/srv/s") in told
    assert tried(f"{kind} mended", disk, script=HIDDEN) == ["0", "nothing", "False"]


@only_root
def test_what_is_made_read_only_in_a_user_namespace(disk: Path) -> None:
    """By lxc.hook.mount: the kernel keeps such a mount in its place, and not read-only."""
    status, told, writable = tried("wrong", disk, script=REMOUNTED)
    assert (status, writable) == ("1", "True"), "it cannot be locked"
    assert "/ct/mp is mounted writable and made read-only inside. Make it read-only where" in told
    assert "another container that has the same folder made LXC do it" in told
    assert tried("mended", disk, script=REMOUNTED) == ["0", "nothing", "False"]


@only_root
@pytest.mark.parametrize(
    ("conf", "is_said"),
    [("writable", False), ("mp", True), ("entry", True), ("unread", True), ("no", True),
     ("made", True)],
)  # fmt: skip
def test_a_warning_is_for_what_is_read_only(conf: str, *, is_said: bool, disk: Path) -> None:
    status, told = tried(conf, disk, "-Urm", script=NOTHING)
    assert (status, told != "nothing") == ("0", is_said), told


@only_root
@pytest.mark.parametrize("place", ["shared", "read-only"])
def test_an_init_that_is_in_a_share(place: str, disk: Path) -> None:
    """lxc.init.cwd: the process would go on in what the lock has taken away."""
    status, told, _ = tried(place, disk, script=IN_A_SHARE)
    assert status == "1"
    assert "its lxc.init.cwd is in a folder that is shared with it" in told


@only_root
@pytest.mark.parametrize("place", ["own", "root"])
def test_an_init_that_is_in_no_share(place: str, disk: Path) -> None:
    assert tried(place, disk, script=IN_A_SHARE) == ["0", "nothing", "False"]
