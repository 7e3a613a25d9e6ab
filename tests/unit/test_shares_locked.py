"""What the host shares read-only is locked: by effect, as root of the host, on its kernel."""

from pathlib import Path

import pytest

from tests.unit.share_scenes import INSIDE, PLACES, RACES, UNMARKED, USED_UP, only_root, tried


@only_root
def test_not_even_root_makes_it_writable(disk: Path) -> None:
    assert tried("lock", disk) == ["False"] * 6
    assert tried("leave", disk) == ["True"] * 6, "the control"


@only_root
def test_where_the_host_allows_no_lock_it_is_said_and_nothing_is_lost(disk: Path) -> None:
    [said] = tried("cannot", disk, "-Urm")
    assert "may make it writable: [Errno 28] unshare: no more namespaces are allowed." in said
    assert "sysctl" in said


@only_root
def test_what_others_use_up_stops_the_start(disk: Path) -> None:
    """Root's namespaces are counted for all containers: none may have another start unlocked."""
    [said] = tried("used up", disk, "-Urm")
    assert "cannot be locked: [Errno 28] unshare: no more namespaces are allowed." in said


@only_root
def test_what_others_of_root_use_up_is_not_the_locks(disk: Path) -> None:
    """It is made by a user whom nobody else is."""
    assert tried("used", disk, script=USED_UP) == ["False", "0", "nothing"]


@only_root
@pytest.mark.slow
def test_any_other_failure_stops_the_start(disk: Path) -> None:
    status, said, *_ = tried("fails", disk)
    assert status == "1"
    assert said.startswith("CT 952: what is shared read-only could not be locked: "), "pct shows it"


@only_root
@pytest.mark.parametrize(
    "race",
    [
        "links",
        "folders",
        "escapes",
        pytest.param("away", marks=pytest.mark.slow),
        # what is read-only beside it speaks for nothing
        pytest.param("beside", marks=pytest.mark.slow),
    ],
)
def test_other_containers_may_rename_meanwhile(race: str, disk: Path) -> None:
    """In folders that they share: it starts all the same, and locked, or not at all."""
    started, *found = tried(f"lock {race}", disk, script=RACES)
    if race in ("away", "beside"):
        assert started == "1", "a share would be missing inside"
    else:
        assert (started, found) == ("0", ["True", "False", "False"])
    assert tried(f"leave {race}", disk, script=RACES) == ["True"] * 3, "the control"


@only_root
@pytest.mark.parametrize(
    "where", ["twice", "above", "above2", "unbindable", "sys", "below", "below2"]
)
def test_it_starts_and_is_locked_wherever_it_is(where: str, disk: Path) -> None:
    assert tried(f"lock {where}", disk, script=PLACES) == ["0", "True", "False"]
    assert tried(f"leave {where}", disk, script=PLACES) == ["True", "True"], "the control"


@only_root
def test_in_a_user_namespace(disk: Path) -> None:
    locked = ["True", "False"]
    assert tried("lock", disk, script=INSIDE) == ["0", *locked, *locked]
    assert tried("leave", disk, script=INSIDE) == [*locked, "True", "True"], "the control"


@only_root
@pytest.mark.slow
def test_in_a_user_namespace_whose_share_was_renamed_away(disk: Path) -> None:
    """The mount that it is in cannot be replaced, and has another one that is locked."""
    assert tried("away", disk, script=INSIDE) == ["1"]


@only_root
def test_in_what_is_mounted_nosuid_nodev_noexec(disk: Path) -> None:
    """As an mpN with mountoptions."""
    assert tried("there", disk, script=UNMARKED) == ["0", "False"]
    assert tried("leave", disk, script=UNMARKED) == ["True"], "the control"


@only_root
@pytest.mark.slow
@pytest.mark.parametrize("how", ["away", "away beside"])
def test_out_of_sight_in_what_is_mounted_nosuid_nodev_noexec(how: str, disk: Path) -> None:
    assert tried(how, disk, script=UNMARKED)[0] == "1"
