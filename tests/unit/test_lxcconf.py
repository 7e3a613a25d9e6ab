"""The text of LXC's own configuration."""

import pytest

from phoenix_apparmor import lxcconf, paths
from phoenix_apparmor.ctconf import PROFILE_KEY
from tests.names import BASE

RUNTIME = b"lxc.idmap = u 0 100000 65536\n# lxc.apparmor.profile = no\nlxc.apparmor.profile = a\n"


def stack(text: bytes) -> bytes:
    label = lxcconf.label(("a",), "952", namespace=True)
    return lxcconf.with_our_lines(text, label, namespace=True)


def test_the_profile_is_replaced_in_place() -> None:
    assert lxcconf.profiles(RUNTIME) == ["a"]
    assert lxcconf.set_profile(RUNTIME, "b") == RUNTIME.replace(b"= a", b"= b")
    assert lxcconf.set_profile(RUNTIME, None) == RUNTIME.replace(b"lxc.apparmor.profile = a\n", b"")


def test_of_several_profile_lines_one_stays() -> None:
    text = b"lxc.apparmor.profile=a\nlxc.x = 1\n  lxc.apparmor.profile = b\nlxc.y = 1\n"
    assert not lxcconf.says(text, "b")
    assert lxcconf.set_profile(text, "b") == (b"lxc.x = 1\nlxc.apparmor.profile = b\nlxc.y = 1\n")
    dead = b"lxc.aa_profile = b\n"
    assert not lxcconf.says(dead, "b")
    assert lxcconf.set_profile(dead, "b") == b"lxc.apparmor.profile = b\n"


@pytest.mark.parametrize("end", [b"\n", b""])
def test_a_text_without_a_line_gets_one(end: bytes) -> None:
    assert lxcconf.set_profile(b"lxc.x = 1" + end, "b") == (
        b"lxc.x = 1\nlxc.apparmor.profile = b" + end
    )


def test_stacking_is_a_block_that_goes_again() -> None:
    stacked = stack(RUNTIME)
    assert stacked.startswith(RUNTIME)
    assert b"\nlxc.apparmor.profile = a//&:lxc-952_<-var-lib-lxc>:\n" in stacked
    assert lxcconf.profiles(stacked) == ["a"], "the plain profile is still seen"
    assert stack(stacked) == stacked
    assert lxcconf.without_our_lines(stacked) == RUNTIME
    assert lxcconf.set_profile(stacked, "b") == RUNTIME.replace(b"= a", b"= b")


def test_a_block_cut_short_goes_too() -> None:
    stacked = stack(RUNTIME)
    assert lxcconf.without_our_lines(stacked[: stacked.index(b"lxc.mount.entry")]) == RUNTIME


def test_unprivileged_is_who_maps_ids() -> None:
    assert lxcconf.is_unprivileged(RUNTIME)
    assert not lxcconf.is_unprivileged(b"# lxc.idmap = u 0 100000 65536\nlxc.idmaps = 1\n")
    assert not lxcconf.is_unprivileged(RUNTIME + b"lxc.idmap = u 65536 0 1\n"), "root of the host"
    assert lxcconf.is_unprivileged(RUNTIME + b"lxc.idmap = g 65536 0 1\nlxc.idmap = u 1 1000 1\n")


def test_a_seccomp_policy_of_the_admins_is_seen_and_ours_is_not_one() -> None:
    guarded = lxcconf.with_our_lines(RUNTIME, None, seccomp=paths.SECCOMP)
    assert guarded == RUNTIME + (
        b"# phoenix-apparmor: its own lines (begin)\n"
        b"lxc.seccomp.profile = /etc/phoenix-apparmor/privileged.seccomp\n"
        b"lxc.cgroup2.devices.deny = c 5:1 rwm\n"
        b"# phoenix-apparmor: its own lines (end)\n"
    )
    assert lxcconf.with_our_lines(guarded, None, seccomp=paths.SECCOMP) == guarded
    assert lxcconf.set_profile(guarded, "a") == RUNTIME
    assert not lxcconf.has_seccomp(guarded)
    assert not lxcconf.has_seccomp(b"# lxc.seccomp.profile = x\nlxc.seccomp.allow_nesting = 1\n")
    assert lxcconf.has_seccomp(guarded + b" lxc.seccomp.profile=/x\n")
    assert lxcconf.has_seccomp(b"lxc.seccomp.profile =\n")


@pytest.mark.parametrize("ctid", ["100", "952", "999999999"])
@pytest.mark.parametrize("rules", [False, True])
def test_the_guard_sorts_last(ctid: str, rules: bool) -> None:
    """As the kernel sorts (strcmp): else one write to attr/current leaves the stack."""
    for profile in (BASE, "lxc-x", "lxc-x.trial", "lxc-x.guard", "lxc-X_.-9"):
        trial, guard = lxcconf.variants(profile, ctid, trial=True, rules=rules)
        assert trial.encode() < guard.encode()


def test_variants_and_labels() -> None:
    assert lxcconf.variants("a", "952", trial=False, rules=False) == ("a",)
    assert lxcconf.variants("a", "952", trial=False, rules=True) == ("a.952",)
    names = lxcconf.variants("a", "952", trial=True, rules=False)
    assert lxcconf.label(names, "952", namespace=False) == "a.952.trial//&a.guard"
    assert lxcconf.label(names, "952", namespace=True) == (
        "a.952.trial//&a.guard//&:lxc-952_<-var-lib-lxc>:"
    )


def read_by_lxc(text: bytes, included: bytes) -> dict[bytes, list[bytes]]:
    """What LXC takes of a configuration: values by key, those of an included file in its place."""
    values: dict[bytes, list[bytes]] = {}
    for line in text.split(b"\n"):
        setting = lxcconf.setting_of(line)
        if setting is None:
            continue
        if setting[0] == b"lxc.include":
            for key, more in read_by_lxc(included, b"").items():
                values.setdefault(key, []).extend(more)
        elif setting == (lxcconf.RAW_KEY, b""):
            values[lxcconf.RAW_KEY] = []
        else:
            values.setdefault(setting[0], []).append(setting[1])
    return values


EVIL = (
    b"lxc.apparmor.profile = unconfined\nlxc.apparmor.raw = file,\n"
    b"lxc.apparmor.allow_nesting = 1\nlxc.seccomp.profile = /none\n"
)


@pytest.mark.parametrize("place", range(4))
def test_the_last_word_is_never_an_included_files(place: int) -> None:
    lines = RUNTIME.split(b"\n")
    lines.insert(place, b"lxc.include = /root/extra.conf")
    text = b"\n".join(lines)
    assert read_by_lxc(text + EVIL, b"")[PROFILE_KEY][-1] == b"unconfined", "the control"
    got = read_by_lxc(lxcconf.with_our_lines(text, None, seccomp=paths.SECCOMP), EVIL)
    assert got[PROFILE_KEY][-1] == b"a"
    assert got[lxcconf.NESTING_KEY][-1] == b"0"
    assert got[lxcconf.RAW_KEY] == []
    assert got[lxcconf.SECCOMP_KEY][-1] == b"/etc/phoenix-apparmor/privileged.seccomp"
    stacked = read_by_lxc(stack(text), EVIL)
    assert stacked[PROFILE_KEY][-1].startswith(b"a//&:lxc-952_")
    assert stacked[lxcconf.NESTING_KEY][-1] == b"1"
    generated = text.replace(b"= a", b"= generated") + b"lxc.apparmor.raw = deny mount,\n"
    got = read_by_lxc(lxcconf.with_our_lines(generated, None), EVIL)
    assert got[PROFILE_KEY][-1] == b"generated"
    assert got[lxcconf.RAW_KEY] == [b"deny mount,"]
    once = lxcconf.with_our_lines(text, None)
    assert lxcconf.with_our_lines(once, None) == once


def test_what_lxc_itself_ships_is_no_reason_to_change_a_configuration() -> None:
    text = b"lxc.include = /usr/share/lxc/config/debian.common.conf\n" + RUNTIME
    assert lxcconf.with_our_lines(text, None) == text
    sly = text.replace(b"debian.common", b"../../../../root/debian.common")
    assert lxcconf.with_our_lines(sly, None) != sly


def test_a_line_is_a_setting_or_it_is_none() -> None:
    assert lxcconf.setting_of(b" lxc.x = a = b \r") == (b"lxc.x", b"a = b")
    for line in (b"# lxc.x = a", b"#", b"lxc.x", b"", b"  # a=b"):
        assert lxcconf.setting_of(line) is None


def test_the_mark_of_a_trial() -> None:
    assert lxcconf.trial_mark("lxc-a", "952") == "lxc-a.952.trial.began"


def test_the_block_begins_on_a_line_of_its_own() -> None:
    block = b"%s\nlxc.apparmor.profile = x\n%s\n" % (lxcconf.BEGIN, lxcconf.END)
    assert lxcconf.with_our_lines(b"", "x") == block
    assert lxcconf.with_our_lines(b"lxc.y = 1", "x") == b"lxc.y = 1\n" + block
    assert lxcconf.with_our_lines(b"lxc.y = 1\n", "x") == b"lxc.y = 1\n" + block


def test_what_is_said_once_more_behind_an_include() -> None:
    text = (
        b"lxc.include = /x\nlxc.seccomp.profile = /a\nlxc.seccomp.profile = /b\n"
        b"lxc.apparmor.raw = a,\nlxc.apparmor.raw = b,\nlxc.apparmor.allow_nesting = 1\n"
        b"lxc.apparmor.profile = c\nlxc.apparmor.profile = d\n"
    )
    assert lxcconf.with_our_lines(text, None) == text + (
        lxcconf.BEGIN + b"\nlxc.apparmor.profile = d\nlxc.apparmor.allow_nesting = 1\n"
        b"lxc.apparmor.raw =\nlxc.apparmor.raw = a,\nlxc.apparmor.raw = b,\n"
        b"lxc.seccomp.profile = /b\n" + lxcconf.END + b"\n"
    )
    bare = b"lxc.include = /x\n"
    assert lxcconf.with_our_lines(bare, None) == bare + (
        lxcconf.BEGIN + b"\nlxc.apparmor.profile =\nlxc.apparmor.allow_nesting = 0\n"
        b"lxc.apparmor.raw =\n" + lxcconf.END + b"\n"
    )
    for standard in (b"", b"lxc.include = /usr/share/lxc/config/common.conf\n"):
        assert lxcconf.with_our_lines(standard, None) == standard
    for tricky in ("../../../root/x", "nesting.conf", "../../../root/common.conf", "x.d/"):
        assert lxcconf.has_foreign_include(
            f"lxc.include = /usr/share/lxc/config/{tricky}\n".encode()
        )
    assert not lxcconf.has_foreign_include(lxcconf.with_our_lines(b"", "x", namespace=True))


def test_lxcs_own_nesting_conf_does_not_have_the_last_word() -> None:
    """It sets a profile with which the container would run under less than is assigned."""
    line = b"lxc.include = /usr/share/lxc/config/nesting.conf\n"
    text = b"lxc.apparmor.profile = lxc-x\n" + line
    including = b"lxc.apparmor.profile = lxc-container-default-with-nesting\n"
    assert read_by_lxc(text, including)[b"lxc.apparmor.profile"][-1] != b"lxc-x", "the control"
    started = lxcconf.with_our_lines(text, None, lock=lxcconf.LOCK_SHARES)
    assert read_by_lxc(started, including)[b"lxc.apparmor.profile"][-1] == b"lxc-x"
