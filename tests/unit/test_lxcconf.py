"""The text of LXC's own configuration."""

import pytest

from phoenix_apparmor import lxcconf

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


def test_a_seccomp_policy_of_the_admins_is_seen_and_ours_is_not_one() -> None:
    guarded = lxcconf.with_our_lines(RUNTIME, None, seccomp=True)
    assert guarded == RUNTIME + (
        b"# phoenix-apparmor: its own lines (begin)\n"
        b"lxc.seccomp.profile = /etc/phoenix-apparmor/privileged.seccomp\n"
        b"# phoenix-apparmor: its own lines (end)\n"
    )
    assert lxcconf.with_our_lines(guarded, None, seccomp=True) == guarded
    assert lxcconf.set_profile(guarded, "a") == RUNTIME
    assert not lxcconf.has_seccomp(guarded)
    assert not lxcconf.has_seccomp(b"# lxc.seccomp.profile = x\nlxc.seccomp.allow_nesting = 1\n")
    assert lxcconf.has_seccomp(guarded + b" lxc.seccomp.profile=/x\n")
    assert lxcconf.has_seccomp(b"lxc.seccomp.profile =\n")


@pytest.mark.parametrize("ctid", ["100", "952", "999999999"])
@pytest.mark.parametrize("rules", [False, True])
def test_the_guard_sorts_last(ctid: str, rules: bool) -> None:
    """As the kernel sorts (strcmp): else one write to attr/current leaves the stack."""
    for profile in ("lxc-nvidia-gpu-base", "lxc-x", "lxc-x.trial", "lxc-x.guard", "lxc-X_.-9"):
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
