"""How root in a privileged container gets out of a profile, by the profile's own rules. Pure.

Each way is tried on the rules: a change of the profile, programs that run outside it, policy of
root's own, and the files with which the kernel runs programs as root of the host, where they
always are or below a /proc or /sys that was mounted, bound or moved elsewhere.
"""

import functools
import re
from collections.abc import Iterator
from typing import NamedTuple

from phoenix_apparmor.policy import rules
from phoenix_apparmor.policy.rules import Profile, Rule

# Flags with which a profile stops nothing, or only what it denies by name.
WEAK_FLAGS = {
    "complain": "is in complain mode, which only logs",
    "unconfined": "has the flag unconfined and stops nothing",
    "prompt": "is in prompt mode: what nobody refuses is allowed",
    "default_allow": "has the flag default_allow: what it does not deny is allowed",
}
# Below /proc and /sys: with these root has the host's kernel run its program, or stops the host.
KERNEL_FILES = {
    "proc": ("sysrq-trigger", "sys/kernel/core_pattern", "sys/kernel/modprobe"),
    "sysfs": ("kernel/uevent_helper", "power/state"),
}
USUAL = {"proc": "/proc", "sysfs": "/sys"}
# Where one might mount a second /proc: a folder of each kind that profiles tell apart.
FOLDERS = ("mnt", "tmp/x", "var/tmp/x", "var/lib/x", "srv/x", "opt/x", "home/x", "root/x",
           "data/x", "media/x", "run/x", "dev/shm/x", "usr/x", "etc/x", "boot/x", "x")  # fmt: skip
# LXC's common.conf takes them from privileged containers, as long as lxc.cap.drop is not cleared.
CAPABILITIES = {
    "mac_admin": "loads AppArmor policy of its own",
    "sys_module": "loads modules into the host's kernel",
}


class WayOut(NamedTuple):
    """how: continues "root in a privileged container …"; rule: that allows it, or a flag.

    open_file: where the rule (file,) is needed, what a deny beside it is missing for.
    """

    how: str
    rule: str
    open_file: str = ""


# status, doctor and a trial ask it of the same few profiles.
@functools.lru_cache(8)
def ways_out(profile: Profile, *, loose: bool = False) -> tuple[WayOut, ...]:
    """All ways that are seen, the plainest first; one of each kind is enough.

    loose: see rules.takes_any_mount.
    """
    found = [*_by_flags(profile)]
    found += [*_by_change(profile), *_by_exec(profile), *_by_capability(profile)]
    found += [*_by_kernel_files(profile, loose=loose)]
    return tuple(found)


def _by_flags(profile: Profile) -> Iterator[WayOut]:
    for flag in sorted(profile.flags & WEAK_FLAGS.keys()):
        yield WayOut(f"is not confined: the profile {WEAK_FLAGS[flag]}", f"flags=({flag})")
    for child in profile.children:
        for flag in sorted(child.flags & WEAK_FLAGS.keys()):
            what = f"is not confined in {child.name}, which {WEAK_FLAGS[flag]}"
            yield WayOut(what, f"flags=({flag}) of {child.name}")


def _by_change(profile: Profile) -> Iterator[WayOut]:
    denied = [r for r in profile.rules if r.kind == "change_profile" and r.denies]
    if any("->" not in rule.words for rule in denied):
        return
    shut = {rule.words.partition("->")[2].strip() for rule in denied}
    for rule in profile.of_kind("change_profile"):
        target = rule.words.partition("->")[2].strip().strip('"')
        inside = target.startswith(f"{profile.name}//") and not target.startswith(
            f"{profile.name}//&"
        )
        if target in shut or target == profile.name or inside:
            continue
        where = f"changes to {target}" if target else "changes to any other profile, or to none"
        yield WayOut(f"{where} with one write to /proc/self/attr/current", rule.text)


def _by_exec(profile: Profile) -> Iterator[WayOut]:
    for rule in profile.rules:
        modes, target = rules.exec_modes(rule)
        if re.search("[uU]", modes):
            yield WayOut("runs a program outside the profile, unconfined", rule.text)
        elif re.search("[pP]", modes) and target and not target.startswith(f"{profile.name}//"):
            yield WayOut(f"runs a program under {target} instead", rule.text)


def _by_capability(profile: Profile) -> Iterator[WayOut]:
    for name, does in CAPABILITIES.items():
        rule = profile.names_capability(name)
        if rule is not None:
            what = f"{does} where its .conf clears lxc.cap.drop (the profile allows {name})"
            yield WayOut(what, rule.text)


def _by_kernel_files(profile: Profile, *, loose: bool) -> Iterator[WayOut]:
    for fstype, usual in USUAL.items():
        name = _writable(profile, fstype, f"{usual}/")
        if name is not None:
            rule = next((r for r in profile.of_kind("file")), None)
            path = f"{usual}/{name}"
            yield WayOut(f"writes {path}", rule.text if rule else "file,", path)
    for fstype, usual in USUAL.items():
        found = next(_second(profile, fstype, usual, loose=loose), None)
        if found is not None:
            yield found


def open_files(profile: Profile) -> list[str]:
    """KERNEL_FILES in their usual places that the profile lets root write."""
    each = (f"{USUAL[kind]}/{name}" for kind, names in KERNEL_FILES.items() for name in names)
    return [path for path in each if profile.allows_file(path, "w")]


def _writable(profile: Profile, fstype: str, place: str) -> str | None:
    files = (name for name in KERNEL_FILES[fstype] if profile.allows_file(place + name, "w"))
    return next(files, None)


def _second(profile: Profile, fstype: str, usual: str, *, loose: bool) -> Iterator[WayOut]:
    """A second /proc or /sys in a place where the profile lets root write to it."""
    for place in dict.fromkeys(_places(profile)):
        name = _writable(profile, fstype, place)
        if name is None or place.startswith(("/proc/", "/sys/")):
            continue
        rule = profile.new_mount_rule(fstype, fstype, place, loose=loose)
        if rule is not None:
            yield WayOut(f"mounts {fstype} on {place} and writes {place}{name}", rule.text)
        for verb, words in (
            ("binds", ({"rw", "bind"}, {"rw", "rbind"})),
            ("moves", ({"rw", "move"},)),
        ):
            for flags in words:
                bound = profile.mount_rule("", frozenset(flags), f"{usual}/", place)
                if bound is not None:
                    yield WayOut(f"{verb} {usual} to {place} and writes {place}{name}", bound.text)


def _places(profile: Profile) -> Iterator[str]:
    """FOLDERS, and one that fits each target of the profile's own mount rules."""
    yield from (f"/{folder}/" for folder in FOLDERS)
    for rule in profile.of_kind("mount"):
        yield from _examples(rule)


def _examples(rule: Rule) -> Iterator[str]:
    target = rule.words.partition("->")[2].strip().strip('"')
    if target.startswith("/"):
        example = re.sub(r"\{([^{},]*)[^{}]*\}", r"\1", target)
        example = re.sub(r"\*+|\?|\[[^]]*\]", "x", example).replace("//", "/")
        yield example.rstrip("/") + "/"
