"""One rule allows all that another does: said only where it is sure."""

import pytest

from phoenix_apparmor.policy import aare
from phoenix_apparmor.policy.covers import covers

WIDER = (
    ("file", "/srv/x r"),
    ("file", "/srv/x ix"),
    ("all", "mount"),
    ("mount", "mount fstype=proc -> /x/"),
    ("mount -> /x/**", "mount fstype=proc -> /x/y/"),
    ("mount fstype=tmp*", "mount fstype=tmpfs options=(rw) -> /x/"),
    ("mount options=(bind)", "mount options=(bind) /a/ -> /b/"),
    ("mount options=(rw,bind)", "mount options=(rw,bind) /a/ -> /b/"),
    ("mount -> /var/lib/{docker,containerd}/**", 'mount -> "/var/lib/docker/x/**"'),
    ("umount", "umount /x/"),
    ("network inet", "network inet stream"),
    ("capability a b", "capability b"),
    ("/srv/** rw", "/srv/* a"),
    ("/srv/** r", "/srv/x/{,**} r"),
    ('"/srv/x" r', "/srv/x r"),
    ("ptrace peer=x", "ptrace (read) peer=x"),
    ("signal (receive) peer=x", "signal (receive) set=(kill) peer=x"),
    ("unix type=stream", "unix (create) type=stream peer=(label=x)"),
)
NOT_WIDER = (
    ("file", "/srv/x ux"),
    ("file", "/srv/x px"),
    ("owner /srv/** r", "/srv/x r"),
    ("/srv/** r", "/srv/{,**} r"),
    ("/srv/** r", "/srv/x w"),
    ("/srv/* r", "/srv/x/y r"),
    ("/srv/x ix -> y", "/srv/x ix"),
    ("remount", "mount options=(remount,ro) -> /x/"),
    ("mount fstype=tmpfs", "mount -> /x/"),
    ("mount fstype=tmpfs", "mount fstype=(tmpfs,proc)"),
    ("mount options=(bind)", "mount options=(rbind)"),
    ("mount options=(ro,bind)", "mount options=(bind)"),
    ("mount /a/ -> /b/", "mount -> /b/"),
    # which AppArmor 3.0 takes for a new mount as well
    ("mount options=(bind)", "mount options=(rw,bind)"),
    ("capability a", "capability"),
    ("capability a", "capability a b"),
    ("network inet stream", "network inet"),
    ("ptrace (read) peer=x", "ptrace peer=x"),
    ("ptrace (read) peer=x", "ptrace (read)"),
    ("signal (receive) set=(kill)", "signal (receive)"),
    ("unix (create) type=stream", "unix (create,bind) type=stream"),
    ("signal", "ptrace"),
)


@pytest.mark.parametrize(("wide", "narrow"), WIDER)
def test_a_rule_that_allows_all_of_it(wide: str, narrow: str) -> None:
    assert covers(wide, narrow) and covers(narrow, narrow)


@pytest.mark.parametrize(("wide", "narrow"), NOT_WIDER)
def test_a_rule_that_may_allow_less(wide: str, narrow: str) -> None:
    assert not covers(wide, narrow)
    only_3 = (wide, narrow) == ("mount options=(bind)", "mount options=(rw,bind)")
    assert covers(wide, narrow, is_4=True) is only_3


@pytest.mark.parametrize("wide", ["/srv/**", "/{srv,mnt}/x/**", "/**", "/*/**", "/srv/**/"])
@pytest.mark.parametrize(
    "narrow", ["/srv/x/**", "/srv/x/{,**}", "/srv/[ab]*/y", "/mnt/x/?", "/srv/**", "/srv/{,x}/"]
)
def test_what_is_said_holds_for_examples(wide: str, narrow: str) -> None:
    if covers(f"{wide} r", f"{narrow} r"):
        assert all(aare.matches(wide, name) for name in aare.examples(narrow))
