"""A neighbour exchanges folders while the lock, or LXC before it, works in them."""

from pathlib import Path

import pytest

from phoenix_apparmor import mounterrors
from phoenix_apparmor.mountcalls import Linux, opened
from tests.unit.share_attacks import CONFIGURED, EXCHANGES, LATER, MANY
from tests.unit.share_scenes import only_root, tried

pytestmark = pytest.mark.slow  # mounts, and names that change meanwhile
AGAIN = "see whether another container that has the same folder renames in it"


@only_root
@pytest.mark.parametrize("how", ["always", "out", "seen"])
def test_what_was_hidden_for_a_moment_is_not_left_unlocked(how: str, disk: Path) -> None:
    """always: the lock as it is. out, seen: the last look alone has to notice."""
    status, told, is_writable = tried(how, disk, script=EXCHANGES)
    assert (status, is_writable) == ("1", "True"), "as the lock found it"
    assert "what is shared read-only could not be locked: " in told
    assert (AGAIN in told) is (how != "seen")


@only_root
@pytest.mark.parametrize("how", ["late", "gone"])
def test_the_last_look_sees_what_became_of_it(how: str, disk: Path) -> None:
    """late: one more was made meanwhile, and is out of sight. gone: one was unmounted."""
    status, told, _ = tried(how, disk, script=EXCHANGES)
    assert status == "1"
    assert ("is elsewhere" if how == "late" else "was renamed") in told


@only_root
def test_where_nothing_looks_it_is_left_unlocked(disk: Path) -> None:
    """The control."""
    assert tried("nothing looks", disk, script=EXCHANGES) == ["0", "nothing", "True"]


@only_root
def test_hidden_for_a_moment_it_starts_locked(disk: Path) -> None:
    assert tried("for a moment", disk, script=EXCHANGES) == ["0", "nothing", "False"]


@only_root
@pytest.mark.parametrize(
    ("how", "place"),
    [("left writable", "srv/a"), ("left writable, optional", "srv/a"), ("missing", "srv/a"),
     ("another", "srv/a"), ("beside", "srv/b"), ("its own", "srv/a"), ("whole", "srv/a")],
)  # fmt: skip
def test_what_is_not_as_its_line_says_stops_the_start(how: str, place: str, disk: Path) -> None:
    """LXC makes a mount read-only by its path, and another one if a neighbour exchanged it."""
    status, told = tried(how, disk, script=CONFIGURED)
    assert status == "1"
    assert "what is shared read-only could not be locked: " in told
    assert f"/ct/{place} is " in told
    assert AGAIN in told


@only_root
@pytest.mark.parametrize(
    "how",
    ["as it is", "writable by the last word", "no source", "beside by a line", "hidden",
     "on its own root", "unread, nothing in it", "another by a hook", "with the host's",
     "mpN in it", "included, as it is"],
)  # fmt: skip
def test_what_is_as_its_line_says_starts(how: str, disk: Path) -> None:
    assert tried(how, disk, script=CONFIGURED) == ["0", "nothing"]


@only_root
@pytest.mark.parametrize(
    ("how", "what"),
    [("quoted", "srv/a is not what"), ("gone", "srv/b is writable"),
     ("fallback", "srv/a is not what"), ("below one without a source", "srv/a is not what"),
     ("rox", "srv/a is not what"), ("another by nobody", "srv/b is writable"),
     ("another mpN", "srv/b is writable"), ("included", "srv/a is not what"),
     ("in an fstab", "srv/a is not what")],
)  # fmt: skip
def test_each_mount_in_a_share_is_one_of_a_line(how: str, what: str, disk: Path) -> None:
    """Whatever the line that was kept from being read-only is written as."""
    status, told = tried(how, disk, script=CONFIGURED)
    assert status == "1"
    assert f"/ct/{what}" in told
    assert AGAIN in told


@only_root
def test_a_source_that_was_moved_away(disk: Path) -> None:
    """In a folder that the container has writable, so that it has the source writable, too."""
    status, told = tried("taken", disk, script=CONFIGURED)
    assert status == "1"
    assert "/ct/srv/a is gone from a folder that is shared writable" in told


@only_root
def test_a_hook_of_the_admin_is_named(disk: Path) -> None:
    """It is no neighbour, and the next start is the same."""
    status, told = tried("by a hook", disk, script=CONFIGURED)
    assert status == "1"
    assert "/ct/srv/b is writable" in told
    assert "A hook may have mounted it (lxc.hook.mount: /srv/hook)" in told
    assert "Start it again" not in told


@only_root
def test_an_option_that_each_lxc_takes_otherwise(disk: Path) -> None:
    status, told = tried("ro=1", disk, script=CONFIGURED)
    assert status == "0"
    assert 'Write "ro" instead of "ro=1" in its lxc.mount.entry' in told
    assert "doctor" not in told


@only_root
@pytest.mark.parametrize("how", ["unread", "unread, whole"])
def test_what_nobody_can_know_is_said(how: str, disk: Path) -> None:
    status, told = tried(how, disk, script=CONFIGURED)
    assert status == "0"
    assert "nobody can know whether all in a share is read-only that has to be" in told
    assert "/more is not read" in told


@only_root
def test_more_mounts_than_open_files(disk: Path) -> None:
    assert tried("many", disk, script=MANY) == ["0", "nothing", "False"]


@only_root
def test_a_line_that_a_later_one_hides(disk: Path) -> None:
    assert tried("later", disk, script=LATER) == ["0", "nothing", "False"]


def test_an_automount_is_called_so() -> None:
    error = mounterrors.two_mounts(b"/mnt/a/nas", is_automount=True)
    assert str(error) == "an automount that is in use is at /mnt/a/nas"
    assert "instead of by rbind" in error.hint


@pytest.mark.parametrize("place", ["/nowhere/über", "/nowhere/\udcff"])
def test_a_place_is_shown_to_people(place: str) -> None:
    with pytest.raises(OSError, match="No such file or directory: '/nowhere/") as raised:
        opened(Linux(-1), place.encode("utf-8", "surrogateescape"), None)
    assert "b'" not in str(raised.value)
