"""Which JSON is used, and what is known where it cannot be."""

import os
import time

import pytest

from phoenix_apparmor import lastgood, paths
from phoenix_apparmor.assignments import lookup
from phoenix_apparmor.assignments.parse import Assignment
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host
from tests.names import BASE, DOCKER, JSON
from tests.unit.fakehost import FakeHost, Journal

OTHER = paths.JSON_FILES[1]
GOOD = '{"lxc_configs": {"952": {"apparmor_profile": "lxc-nvidia-gpu-docker"}}}'


@pytest.fixture
def real(host: FakeHost) -> Host:
    return Host(str(host.root))


# -- who is meant by what cannot be read --------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "speaks"),
    [
        (b'"952"', True),
        (b"952", True),
        (b"1952", False),
        (b"9521", False),
        (b"9520 1952 952", True),
        (b"", False),
        (None, True),
        ('"952"'.encode("utf-16"), True),
        ('"952"'.encode("utf-32-be"), True),
        (rb'"\u0039\u0035\u0032"', True),
        (rb'"9\u00352"', True),
        (rb'"\u0039\u0035\u0033"', False),
        (rb'"\u0039\u0035\u0032\u0030"', False),
    ],
)
def test_texts_that_may_speak_of_a_container(text: bytes | None, speaks: bool) -> None:
    assert lookup.speaks_of(text, "952") is speaks


def test_what_is_known_of_a_container() -> None:
    good = lookup.Known(JSON, {"952": Assignment(BASE)})
    assert good.of("952") == Assignment(BASE)
    assert good.of("953") is None
    assert (good.ever, good.lost, good.unread, good.trouble) == (True, False, b"", None)
    bad = good._replace(trouble=PhoenixError("it is broken."), unread=b"953")
    assert bad.of("952") == Assignment(BASE), "the last good one"
    assert bad.of("953") == Assignment("", problem="it is broken")
    assert bad._replace(unread=b"952").of("952") == Assignment(BASE), "also if it speaks of it"
    assert bad.of("954") is None
    assert not lookup.Found(JSON, None).gone
    assert bad._replace(unread=None).of("954") == Assignment("", problem="it is broken")
    assert bad._replace(lost=True, unread=b"").of("954") == Assignment("", problem="it is broken")
    assert good._replace(lost=True).of("954") is None, "the JSON itself is good"


def test_how_a_file_is_made_trusted() -> None:
    why = "anyone but root may write it too (mode 0666)"
    assert lookup.how_to_trust("/a/b", why) == "chown root:root /a/b && chmod go-w /a/b"
    above = "/a, which it is in: it belongs to uid 7, not to root"
    assert lookup.how_to_trust("/a/b", above) == "chown root:root /a && chmod go-w /a"


# -- which file ---------------------------------------------------------------------------------


def found(real: Host) -> tuple[str, str, bool]:
    """(source, what is wrong with it, whether it is gone)."""
    seen = lookup.find_json(real)
    return seen.source, seen.trouble.what if seen.trouble else "", seen.gone


def test_no_json_at_all(real: Host) -> None:
    seen = lookup.find_json(real)
    assert (seen.source, seen.gone, seen.seen) == ("", True, None)
    assert seen.trouble and seen.trouble.what == f"There is no {JSON} or {OTHER}."
    known = lookup.everyone(real)
    assert (known.ever, known.unread, known.lost, known.assigned) == (False, b"", False, {})


def test_the_first_that_is_there(host: FakeHost, real: Host) -> None:
    host.write(OTHER, GOOD).chmod(0o600)
    assert found(real) == (OTHER, "", False)
    host.json(GOOD)
    assert found(real) == (JSON, "", False)


def test_the_one_that_was_used_is_gone(host: FakeHost, real: Host) -> None:
    host.json(GOOD)
    assert lookup.everyone(real).assigned == {"952": Assignment(DOCKER)}
    host.path(JSON).unlink()
    assert found(real) == (JSON, f"{JSON} is gone.", True)
    known = lookup.everyone(real)
    assert known.ever and known.source == JSON and known.unread == b""
    assert known.of("952") == Assignment(DOCKER) and known.of("953") is None
    host.write(OTHER, '{"lxc_configs": {}}').chmod(0o600)
    said = f"{JSON} is gone. {OTHER} exists, but is not used in its place automatically."
    assert found(real) == (JSON, said, True)
    assert lookup.everyone(real).of("952") == Assignment(DOCKER)
    host.path(OTHER).unlink()
    host.path(OTHER).symlink_to("/nowhere")
    assert found(real) == (OTHER, f"{OTHER} is a link to a file that is not there.", True)
    host.path(OTHER).unlink()
    host.write(OTHER, "{}").chmod(0o600)
    host.path(paths.COPY).unlink()
    assert found(real) == (OTHER, "", False), "after rm of the copy"


def test_a_link_to_nowhere(host: FakeHost, real: Host) -> None:
    host.path(JSON).symlink_to("/nowhere")
    host.write(OTHER, GOOD).chmod(0o600)
    assert found(real) == (JSON, f"{JSON} is a link to a file that is not there.", True)


def test_what_nobody_can_look_at(host: FakeHost, real: Host) -> None:
    host.path(JSON).symlink_to(host.path(JSON))
    seen = lookup.find_json(real)
    assert seen.trouble and f"cannot look at {JSON}" in seen.trouble.what and not seen.gone
    known = lookup.everyone(real)
    assert known.unread is None and known.of("952") == Assignment(
        "", problem=seen.trouble.what.removesuffix(".")
    )


def test_an_untrusted_one_is_read_only_for_whom_it_speaks_of(host: FakeHost, real: Host) -> None:
    host.json(GOOD).chmod(0o666)
    known = lookup.everyone(real)
    assert known.trouble and "anyone but root may write it too" in known.trouble.what
    assert "chmod go-w" in known.trouble.hint
    assert known.of("953") is None and known.of("952") is not None
    assert not host.path(paths.COPY).exists()
    host.json("{").chmod(0o666)
    known = lookup.everyone(real)
    assert known.trouble and "anyone but root may write it too" in known.trouble.what


# -- the copy -----------------------------------------------------------------------------------


def test_the_quick_way_reads_one_line(host: FakeHost, real: Host) -> None:
    host.json('{"lxc_configs": {"952": {"apparmor_rules": ["mount,", "umount,"]}}}')
    rules = Assignment(BASE, rules=("mount,", "umount,"))
    slow = lookup.assignment_of(real, "952")
    assert slow[0] == rules and slow[1] is not None
    host.settle()
    assert lookup.assignment_of(real, "952") == (rules, None)
    assert lookup.assignment_of(real, "953") == (None, None)
    # The copy is what is read, while it is current.
    text = host.read(paths.COPY)
    body = text[text.index(b"\n\n") + 2 : text.rindex(b"end ")].replace(b"base", b"fast")
    head = text[: text.index(b"\n\n") + 2]
    host.write(paths.COPY, head + body + lastgood.end_mark(body))
    assert lookup.assignment_of(real, "952")[0] == rules._replace(name="lxc-nvidia-gpu-fast")
    assert lookup.everyone(real).assigned == {"952": rules._replace(name="lxc-nvidia-gpu-fast")}
    host.path(JSON).chmod(0o666)
    assert lookup.assignment_of(real, "952")[1] is not None


def test_what_was_read_just_when_it_was_written_is_read_again(host: FakeHost, real: Host) -> None:
    """pmxcfs has times of whole seconds: it may have changed once more since."""
    host.json(GOOD)
    lookup.everyone(real)
    text = host.read(paths.COPY)
    body = b"952 lxc-old\n"
    host.write(paths.COPY, text[: text.index(b"\n\n") + 2] + body + lastgood.end_mark(body))
    assert lookup.everyone(real).assigned == {"952": Assignment(DOCKER)}


def test_it_is_kept_only_if_asked(host: FakeHost, real: Host) -> None:
    host.json(GOOD)
    lookup.everyone(real, save=False)
    assert not host.path(paths.COPY).exists()
    lookup.everyone(real)
    before = host.path(paths.COPY).stat()
    assert before.st_mode & 0o777 == 0o644
    assert host.path(paths.STATE).stat().st_mode & 0o777 == 0o755
    lookup.everyone(real, since=time.time_ns() - 10**12)
    assert host.path(paths.COPY).stat().st_ino == before.st_ino, "as new as is asked for"


@pytest.mark.parametrize("spoiled", ["cut", "folder", "of others", "a group's", "somebody's"])
def test_a_copy_that_cannot_be_used_is_lost(host: FakeHost, real: Host, spoiled: str) -> None:
    host.json(GOOD)
    lookup.everyone(real)
    copy = host.path(paths.COPY)
    if spoiled == "cut":
        copy.write_bytes(copy.read_bytes()[:-1])
    elif spoiled == "folder":
        copy.unlink()
        copy.mkdir()
    elif spoiled == "of others":
        copy.chmod(0o646)
    elif spoiled == "a group's":
        copy.chmod(0o664)
    else:
        os.chown(copy, 65534, 0)
    host.json("{")
    known = lookup.everyone(real)
    assert known.lost and not known.ever and known.assigned == {}
    assert known.of("999") is not None, "whatever it was, nobody knows it any more"
    host.json(GOOD)
    assert lookup.everyone(real).trouble is None
    assert lookup.everyone(real).assigned == {"952": Assignment(DOCKER)}
    assert lastgood.is_copy(host.read(paths.COPY)), "made again"
    left = [name for name in os.listdir(copy.parent) if ".broken." in name]
    assert len(left) == (spoiled == "folder"), "what was in its place is set aside"


def test_a_link_in_the_copys_place_is_replaced(host: FakeHost, real: Host) -> None:
    host.json(GOOD)
    host.path(paths.STATE).mkdir(parents=True)
    host.path(paths.COPY).symlink_to("/proc")
    lookup.everyone(real)
    assert os.listdir(host.path(paths.STATE)) == ["assignments"]
    assert not host.path(paths.COPY).is_symlink()


def test_a_copy_that_cannot_be_written_is_logged(
    host: FakeHost, real: Host, journal: Journal
) -> None:
    host.json(GOOD)
    host.write(paths.STATE, "a file")
    assert lookup.everyone(real).assigned == {"952": Assignment(DOCKER)}
    (entry,) = journal.entries()
    assert entry["PRIORITY"] == "4"
    assert entry["MESSAGE"] == f"cannot write {paths.STATE}: File exists."
    host.path(paths.STATE).unlink()
    host.path(paths.COPY).mkdir(parents=True)
    os.chmod(host.path(paths.STATE), 0o777)
    host.path(f"{paths.STATE}/x").mkdir()
    assert lookup.everyone(real).assigned == {"952": Assignment(DOCKER)}
    assert host.path(paths.STATE).stat().st_mode & 0o777 == 0o755, "closed to others"


def test_a_bad_entry_keeps_its_last_good_one(host: FakeHost, real: Host) -> None:
    host.json(GOOD)
    lookup.everyone(real)
    host.json(GOOD.replace("lxc-nvidia", "lxc_nvidia"))
    known = lookup.everyone(real)
    assert known.trouble is None and known.assigned["952"].name == DOCKER
    assert "Rename it" in known.assigned["952"].problem


def test_one_that_changes_all_the_time_is_not_used(
    host: FakeHost, real: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.json(GOOD)
    reads = []
    read = Host.read_and_stat

    def changing(self: Host, name: str, limit: int = 64 << 20) -> tuple[bytes, os.stat_result]:
        result = read(self, name, limit)
        if name == JSON:
            reads.append(name)
            host.json(GOOD + " " * len(reads))
        return result

    monkeypatch.setattr(Host, "read_and_stat", changing)
    known = lookup.everyone(real)
    assert known.trouble and "it keeps changing while it is read" in known.trouble.what
    assert known.trouble.hint == "Write a new file and rename it into place."
    assert 3 <= len(reads) <= 10


def test_what_is_wrong_with_it_is_told_with_its_name(host: FakeHost, real: Host) -> None:
    host.json("{")
    known = lookup.everyone(real)
    assert known.trouble and known.trouble.what.startswith(f"{JSON} is not used: line 1, column 2")
    assert f"phoenix-apparmor validate {JSON}" in known.trouble.hint
    assert (known.unread, known.ever, known.lost) == (b"{", False, False)
    host.path(JSON).unlink()
    host.path(JSON).mkdir()
    known = lookup.everyone(real)
    assert known.trouble and known.trouble.what == f"{JSON} is not used: it is not a regular file."
    assert known.unread is None


def test_one_that_vanishes_while_it_is_read(
    host: FakeHost, real: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.json(GOOD)
    read = Host.read_and_stat

    def vanishing(self: Host, name: str, limit: int = 64 << 20) -> tuple[bytes, os.stat_result]:
        result = read(self, name, limit)
        if name == JSON:
            host.path(JSON).unlink()
        return result

    monkeypatch.setattr(Host, "read_and_stat", vanishing)
    known = lookup.everyone(real)
    said = f"{JSON} is not used: it cannot be read: No such file or directory."
    assert known.trouble and known.trouble.what == said


def test_without_a_lock_the_answer_is_the_same(host: FakeHost, real: Host) -> None:
    host.json(GOOD)
    host.write(paths.RUN, "a file")
    assert lookup.everyone(real).assigned == {"952": Assignment(DOCKER)}


def test_the_schema_ships() -> None:
    assert "lxc_configs" in lookup.schema()["properties"]
