"""The text of the last good copy: what is taken for one, and what it says."""

import os

import pytest

from phoenix_apparmor import lastgood

JSON = "/etc/pve/phoenix_lxc_configs.json"
SECOND = 1_000_000_000
BODY = b"950 lxc-a\n952 lxc-b plain\n952+ mount fstype=nfs,\n952+ umount,\n"


def looks(size: int = 7, mtime: int = 100 * SECOND, ctime: int = 100 * SECOND) -> os.stat_result:
    """A JSON that looks so; times in ns."""
    fields = [0o100644, 11, 22, 1, 0, 0, size, 0, 0, 0]
    return os.stat_result(fields, {"st_mtime_ns": mtime, "st_ctime_ns": ctime})


def copy(read_ns: int = 200 * SECOND, body: bytes = BODY) -> bytes:
    return lastgood.identity(JSON, looks(), read_ns) + body + lastgood.end_mark(body)


def test_a_whole_copy_is_one() -> None:
    assert lastgood.is_copy(copy()) and lastgood.is_copy(copy(body=b""))
    assert lastgood.is_current(copy(), JSON, looks())


@pytest.mark.parametrize("length", range(len(copy())))
def test_a_cut_copy_is_none(length: int) -> None:
    text = copy()[:length]
    assert not lastgood.is_copy(text)
    assert not lastgood.is_current(text, JSON, looks())


def test_a_changed_copy_is_none() -> None:
    for text in (
        copy().replace(b"lxc-a", b"lxc-c"),
        copy() + b"\n",
        copy() + b"953 lxc-x\n",
        b"x" + copy(),
        copy().removeprefix(lastgood.FIRST_LINE),
        copy().replace(b"assignments 2", b"assignments 3"),
    ):
        assert not lastgood.is_copy(text)
        assert not lastgood.is_current(text, JSON, looks())


def test_without_its_blank_line_it_is_none() -> None:
    text = lastgood.FIRST_LINE + b"x\n"
    assert not lastgood.is_copy(text + lastgood.end_mark(text[1:]))
    assert not lastgood.is_copy(text + lastgood.end_mark(text))


def test_a_copy_of_release_1_0_0_is_good_but_never_current() -> None:
    head = copy()[: copy().index(b"\n\n") + 2]
    text = head.replace(lastgood.FIRST_LINE, lastgood.OLD_FIRST_LINE) + BODY
    assert lastgood.is_copy(text) and lastgood.source_of(text) == JSON
    assert not lastgood.is_copy(text[:-1]), "cut in a line"
    assert not lastgood.is_copy(text.replace(b"\n\n", b"\n"))
    assert not lastgood.is_current(text, JSON, looks())


@pytest.mark.parametrize(
    "seen",
    [looks(size=8), looks(mtime=99 * SECOND), looks(ctime=101 * SECOND)],
    ids=["size", "mtime", "ctime"],
)
def test_of_another_state_of_the_json_it_is_not_current(seen: os.stat_result) -> None:
    assert not lastgood.is_current(copy(), JSON, seen)
    assert not lastgood.is_current(copy(), JSON + "x", looks())


@pytest.mark.parametrize(
    ("after", "current"), [(SECOND // 2, False), (2 * SECOND, False), (2 * SECOND + 1, True)]
)
def test_what_was_read_just_when_it_was_written_may_change_once_more(
    after: int, current: bool
) -> None:
    text = copy(100 * SECOND + after)
    assert lastgood.is_current(text, JSON, looks()) is current
    later = lastgood.identity(JSON, looks(mtime=90 * SECOND), 100 * SECOND + after)
    later += BODY + lastgood.end_mark(BODY)
    assert lastgood.is_current(later, JSON, looks(mtime=90 * SECOND)) is current, "the later time"


def test_a_copy_read_since_is_as_new_as_can_be_asked_for() -> None:
    text = copy(100 * SECOND + 5)
    assert not lastgood.is_current(text, JSON, looks())
    assert lastgood.is_current(text, JSON, looks(), 100 * SECOND + 5)
    assert not lastgood.is_current(text, JSON, looks(), 100 * SECOND + 6)


@pytest.mark.parametrize("when", [b"", b"x", b"-1", b"1.5", b"12 "])
def test_a_garbled_time_is_not_current(when: bytes) -> None:
    text = copy(42).replace(b" 42\n", b" " + when + b"\n")
    assert lastgood.is_current(text, JSON, looks(), 1) is False


def test_source_is_told_of_a_cut_copy_too() -> None:
    assert lastgood.source_of(copy()) == JSON
    assert lastgood.source_of(copy()[: len(lastgood.FIRST_LINE) + 7 + len(JSON)]) == JSON
    assert lastgood.source_of(b"source /x\n") == lastgood.source_of(b"") == ""
    odd = lastgood.identity("/a\udcff", looks(), 1)
    assert lastgood.source_of(odd) == "/a\udcff"


def test_lines_and_rules_are_those_of_just_this_container() -> None:
    text = copy()
    assert lastgood.line_of(text, "950") == "lxc-a"
    assert lastgood.line_of(text, "952") == "lxc-b plain"
    assert lastgood.line_of(text, "95") is lastgood.line_of(text, "50") is None
    assert lastgood.rules_of(text, "952") == ("mount fstype=nfs,", "umount,")
    assert lastgood.rules_of(text, "950") == lastgood.rules_of(text, "52") == ()
