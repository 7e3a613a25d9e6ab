"""Check of what the profiles' own rules allow: whether root can get out of them."""

from collections.abc import Iterator
from dataclasses import replace

from phoenix_apparmor import kernel, paths
from phoenix_apparmor.doctor import local_rules, one_container, reading
from phoenix_apparmor.doctor.finding import Finding
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host
from phoenix_apparmor.policy import compiled, files, rules, ways_out
from phoenix_apparmor.policy.files import ProfileFile

# So many ways out of one profile are named.
SHOWN = 3
PARTS = "abstractions/phoenix"
# What of our profiles denies the kernel's files: by path, and by name wherever they are.
DENYING = ("kernel-files", "kernel-names")


def leaving(host: Host) -> Iterator[Finding]:
    """Profiles that root in a container can leave, or that do not keep it from the host."""
    users = _users(host)
    mapped = frozenset(c.ctid for c in reading.confs(host) if c.is_unprivileged)
    modes = reading.modes_if_known(host) or {}
    ours = files.ours(host, frozenset(reading.wanted_profiles(host)))
    # profiles whose mode another check tells
    told = {f.name for f in ours if modes.get(f.name, "enforce") not in kernel.ENFORCING}
    loose = host.has_program("apparmor_parser") and rules.takes_any_mount(host)
    assigned = frozenset(reading.wanted_profiles(host))
    for file in _named(host, users):
        if one_container.only(host) and file.name not in users:
            continue  # not a matter of the container that is asked about
        try:
            profile = rules.effective(host, file)
        except PhoenixError as error:
            if not compiled.compiles(host, file):
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
        reload = files.reload_command(file.name, assigned)
        who, told_here = users.get(file.name, []), {way.rule for way in found}
        under = local_rules.Users(tuple(who), mapped & set(who))
        yield from local_rules.judged(host, file, under, told_here, reload)
        if found:
            shut = _to_shut(host, file, profile) if any(way.open_file for way in found) else ""
            yield _held_by_nothing(file, found, who, mapped, (shut, reload))


def _held_by_nothing(
    file: ProfileFile,
    found: tuple[ways_out.WayOut, ...],
    who: list[str],
    mapped: frozenset[str],
    remedies: tuple[str, str],
) -> Finding:
    """mapped: containers with a user namespace, which holds root whatever the profile allows.

    remedies: what shuts the kernel's files in their usual places, and the command that loads it.
    """
    shown = found[:SHOWN]
    how = "; ".join(way.how for way in shown)
    more = f" (and {len(found) - SHOWN} more ways)" if len(found) > SHOWN else ""
    held = bool(who) and mapped.issuperset(who)
    if held:
        what = (
            f"profile {file.name} would not confine root in a privileged container: it {how}"
            f"{more}. {reading.cts(who)} {'is' if len(who) == 1 else 'are'} unprivileged: only "
            "the user namespace confines root there."
        )
    else:
        under = f" ({reading.cts([c for c in who if c not in mapped])})" if who else ""
        what = (
            f"profile {file.name} does not confine root in a privileged container{under}: it {how}"
            f"{more}."
        )
    # what writes a kernel file needs a deny; without its "file," nothing would run
    wrong = list(dict.fromkeys(way.rule for way in found if not way.open_file))
    shut, reload = remedies
    advice = [shut] if shut else []
    if wrong:
        advice.append(
            f"remove: {'  '.join(wrong[:SHOWN])} (they may be in local/ or in an abstraction "
            "that it includes)"
        )
    return Finding(
        "warning" if held else "error",
        what,
        f"{file.path} and what it includes: " + "  ".join(dict.fromkeys(way.rule for way in shown)),
        advice="; ".join(advice)
        + '; README, "Your own profile", has what a profile needs; then: '
        + reload,
        ctids=tuple(who),
    )


def _to_shut(host: Host, file: ProfileFile, profile: rules.Profile) -> str:
    """What to add so that the profile denies the kernel's files: tried on its rules.

    So it is never what the profile has already.
    """
    has = {rule.words for rule in profile.rules if rule.denies}
    lacks: dict[str, tuple[rules.Rule, ...]] = {}
    for name in DENYING:
        text = compiled.included(host, f"{PARTS}/{name}") or ""
        (part,) = rules.parse(f"profile part {{\n{text}\n}}\n")
        if not has.issuperset(rule.words for rule in part.rules):
            lacks[name] = part.rules
    more = tuple(rule for part in lacks.values() for rule in part)
    if not ways_out.open_files(replace(profile, rules=profile.rules + more)):
        includes = " and ".join(f"include <{PARTS}/{name}>" for name in lacks)
        return f"add what denies the kernel's files: {includes}"
    base = file.path.rpartition("/")[2]
    own = f"<local/{base}>".encode() in file.text
    where = f"{paths.APPARMOR_D}/local/{base}" if own else file.path
    return f"add to {where}: " + "  ".join(
        f"deny {path} wklx," for path in ways_out.open_files(profile)
    )


def _users(host: Host) -> dict[str, list[str]]:
    """Profile -> CTIDs of this node that are assigned it, or whose configuration names it."""
    users = {name: list(ctids) for name, ctids in reading.wanted_profiles(host).items()}
    managed = reading.managed(host)
    for conf in reading.confs(host):
        name = conf.profile if conf.ctid in managed else conf.used_profile
        if name and conf.ctid not in users.setdefault(name, []):
            users[name].append(conf.ctid)
    return users


def _named(host: Host, users: dict[str, list[str]]) -> Iterator[ProfileFile]:
    ours = {file.name: file for file in files.ours(host, frozenset(users))}
    for name in users:
        if name not in ours and name.startswith("lxc-"):
            other = reading.file_of(host, name)
            if other is not None:
                ours[name] = other
    yield from (ours[name] for name in sorted(ours))
