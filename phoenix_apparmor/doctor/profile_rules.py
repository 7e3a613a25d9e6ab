"""Check of what the profiles' own rules allow: whether root can get out of them."""

from collections.abc import Iterator

from phoenix_apparmor import containers, labels
from phoenix_apparmor.doctor import one, reading
from phoenix_apparmor.doctor.finding import Finding
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host
from phoenix_apparmor.policy import files, rules, ways_out
from phoenix_apparmor.policy.files import ProfileFile

# So many ways out of one profile are named.
SHOWN = 3


def leaving(host: Host) -> Iterator[Finding]:
    """Profiles that root in a container can leave, or that do not keep it from the host."""
    users = _users(host)
    modes = reading.modes_if_known(host) or {}
    ours = files.ours(host, frozenset(reading.wanted_profiles(host)))
    # profiles whose mode another check tells
    told = {f.name for f in ours if modes.get(f.name, "enforce") not in labels.ENFORCING}
    loose = host.has_program("apparmor_parser") and rules.takes_any_mount(host)
    for file in _named(host, users):
        if one.only(host) and file.name not in users:
            continue  # not a matter of the container that is asked about
        try:
            profile = rules.effective(host, file)
        except PhoenixError as error:
            if _does_not_compile(host, file):
                continue  # told by another check
            yield Finding(
                "unknown",
                f"cannot tell what profile {file.name} allows.",
                error.what,
                advice=error.hint,
            )
            continue
        found = ways_out.ways_out(profile, loose=loose)
        if file.name in told:
            found = tuple(way for way in found if not way.rule.startswith("flags="))
        if found:
            who = users.get(file.name, [])
            under = f" ({reading.cts(who)})" if who else ""
            how = "; ".join(f"{way.how}" for way in found[:SHOWN])
            more = f" (and {len(found) - SHOWN} more ways)" if len(found) > SHOWN else ""
            yield Finding(
                "error",
                f"profile {file.name} does not hold root in a privileged container{under}: it "
                f"{how}{more}.",
                f"{file.path} and what it includes: " + "  ".join(w.rule for w in found[:SHOWN]),
                advice="take these rules out (they may be in local/ or in an abstraction that it "
                'includes; README, "Your own profile", has what a profile needs), then: '
                "phoenix-apparmor reload",
                ctids=tuple(who),
            )


def _users(host: Host) -> dict[str, list[str]]:
    """Profile -> CTIDs of this node that are assigned it, or whose .conf names it."""
    users = {name: list(ctids) for name, ctids in reading.wanted_profiles(host).items()}
    for conf in containers.confs(host):
        if conf.profile and conf.ctid not in users.setdefault(conf.profile, []):
            users[conf.profile].append(conf.ctid)
    return users


def _named(host: Host, users: dict[str, list[str]]) -> Iterator[ProfileFile]:
    ours = {file.name: file for file in files.ours(host, frozenset(users))}
    for name in users:
        if name not in ours and name.startswith("lxc-"):
            other = reading.file_of(host, name)
            if other is not None:
                ours[name] = other
    yield from (ours[name] for name in sorted(ours))


def _does_not_compile(host: Host, file: ProfileFile) -> bool:
    try:
        files.compile_policy(host, file)
    except PhoenixError:
        return True
    return False
