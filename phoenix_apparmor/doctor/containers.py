"""Checks of what the containers' configurations say about their profile, and what they run."""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from phoenix_apparmor import containers, ctconf, labels, lxcsettings, paths, pveconf
from phoenix_apparmor.assignments import validate
from phoenix_apparmor.containers import Conf
from phoenix_apparmor.doctor import conf_edits, reading
from phoenix_apparmor.doctor.finding import Finding, Severity
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host
from phoenix_apparmor.policy import files
from phoenix_apparmor.status import collect, report

KEYS = (ctconf.PROFILE_KEY, ctconf.DEAD_KEY)
# What folklore mounts there so that Docker believes that there is no AppArmor.
HIDDEN = "/sys/module/apparmor/parameters/enabled"
APPARMOR_KEYS = ("lxc.apparmor.", "lxc.aa_profile")


def sections(host: Host) -> Iterator[Finding]:
    """Profile lines that wait in a snapshot, lxc lines in a pending change."""
    pending: list[tuple[Conf, str]] = []
    snapshots: dict[str, list[str]] = {}
    paths_of: dict[str, str] = {}
    for conf in reading.confs(host):
        for section, value in _odd_sections(conf).items():
            if section == "pve:pending":
                pending.append((conf, value))
            else:
                snapshots.setdefault(value, []).append(f"{conf.ctid} ({section})")
                paths_of.setdefault(value, f"{conf.path}, section [{section}]")
    if pending:
        ctids = tuple(conf.ctid for conf, _ in pending)
        conf, value = pending[0]
        yield Finding(
            "warning",
            f"{reading.cts(ctids)}: lxc lines are pending. At the next start they replace all lxc "
            "lines, those of the profile, devices and mounts too.",
            f"{conf.path}, section [pve:pending]: {value}",
            advice="copy the lxc lines that must stay into [pve:pending], or remove its lxc lines "
            f"from {conf.path}; see: pct pending {conf.ctid}",
            ctids=ctids,
        )
    for value, found in snapshots.items():
        yield Finding(
            "note",
            f"a snapshot of {reading.cts(found)} has profile {value}; a rollback brings it back "
            "until the next start.",
            paths_of[value],
            ctids=tuple(name.partition(" ")[0] for name in found),
        )


def _odd_sections(conf: Conf) -> dict[str, str]:
    """Section -> profile, where that is not the one of today; of a pending change, a lxc line."""
    section = ""
    odd: dict[str, str] = {}
    for line in conf.text.split(b"\n"):
        header = ctconf.header_name(line)
        if header is not None:
            # as it is written: Proxmox takes capital letters too, and one has to find it
            section = ctconf.as_text(line.strip(ctconf.BLANK)).strip("[]")
            section = section.lower() if section.lower() == "pve:pending" else section
        setting = ctconf.lxc_setting(line)
        if setting is None or not section:
            continue
        value = ctconf.as_text(setting[1])
        if section == "pve:pending":
            odd.setdefault(section, f"{ctconf.as_text(setting[0])}: {value}")
        elif setting[0] in KEYS and value != conf.profile:
            odd[section] = value
    return odd


def profile_lines(host: Host) -> Iterator[Finding]:
    """The profile line itself: once, the right key, a name that works."""
    managed = reading.managed(host)
    listing = reading.modes_if_known(host)
    causes: dict[tuple[Wrong, ...], list[Conf]] = {}
    for conf in reading.confs(host):
        wrong = tuple(_wrong_lines(host, conf, listing))
        if wrong:
            causes.setdefault(wrong, []).append(conf)
    for wrong, confs in causes.items():
        yield _line_finding(host, wrong, confs, managed)


class Wrong(NamedTuple):
    """What is wrong with one container's lines. kind: of LINES. value: the line's."""

    severity: Severity
    kind: str
    value: str


# kind -> what is wrong with the lines of "CT 950, 951"
LINES = {
    "dead": "the dead key lxc.aa_profile: LXC does not start such a container.",
    "twice": "more than one profile line; the last one is used.",
    "unconfined": "configured unconfined: nothing confines root in it.",
    "mapped": "configured unconfined: no profile confines root in it, only its user namespace "
    "does.",
    "empty": "a profile line without a profile: LXC uses its own lxc-container-default-cgns.",
    "comment": "a profile name that no profile has: everything after the colon is the name, "
    "comments too.",
    "file": "the profile line names a file, not the profile in it.",
    "quoted": "a profile name in quotes, which LXC takes away, but not Proxmox and we.",
    # not "cannot start": where it is managed, the start corrects the line
    "prefix": "lxc-start cannot change to the profile in .conf, as its name does not begin with "
    '"lxc-": it hangs.',
    "nowhere": "no file holds the profile in .conf, and the kernel does not have it.",
}


def _wrong_lines(host: Host, conf: Conf, listing: dict[str, str] | None) -> Iterator[Wrong]:
    """What is wrong with one container's lines, the worst first."""
    values = ctconf.conf_profiles(conf.text)
    if ctconf.DEAD_KEY.decode() in [key for key, _ in conf.lxc()]:
        yield Wrong("error", "dead", "lxc.aa_profile")
    twice = len(values) > 1
    if values and values[-1] != "generated":
        for wrong in _wrong_value(host, values[-1], listing):
            mapped = wrong.kind == "unconfined" and conf.is_unprivileged
            yield wrong._replace(kind="mapped") if mapped else wrong
    if twice:
        yield Wrong("warning", "twice", ", ".join(values))


def _wrong_value(host: Host, value: str, listing: dict[str, str] | None) -> Iterator[Wrong]:
    bare = lxcsettings.unquoted(value)
    if bare != value:
        yield from _wrong_value(host, bare, listing)
        yield Wrong("warning", "quoted", value)
    elif value == "unconfined":
        yield Wrong("error", "unconfined", value)
    elif value == "":
        yield Wrong("warning", "empty", value)
    elif "#" in value or " " in value:
        yield Wrong("error", "comment", value)
    elif listing is not None and value in listing:
        if not value.startswith("lxc-"):
            yield Wrong("error", "prefix", value)
    elif reading.profile_in_file(host, value) not in ("", value):
        yield Wrong("error", "file", value)
    elif not value.startswith("lxc-"):
        yield Wrong("error", "prefix", value)
    elif listing is not None and files.find(host, value) is None:
        yield Wrong("error", "nowhere", value)


def _line_finding(
    host: Host, wrong: tuple[Wrong, ...], confs: list[Conf], managed: frozenset[str]
) -> Finding:
    ctids = tuple(conf.ctid for conf in confs)
    kinds = {kind: value for _, kind, value in wrong}
    right = ""
    advice = ""
    what = " Also: ".join(LINES[kind] for kind in kinds)
    if "file" in kinds:
        right = reading.profile_in_file(host, kinds["file"])
        what += f" That is {right}."
    elif "prefix" in kinds:
        advice = _renamed(host, kinds["prefix"])
    elif "nowhere" in kinds:
        named = files.reload_command(kinds["nowhere"], ())
        advice = f"put the profile into {paths.APPARMOR_D}, then: {named}"
    applied = [conf.ctid for conf in confs if conf.ctid in managed]
    # apply would write a name under which nothing starts
    wanted = reading.wanted_profiles(host)
    lost = {name: ctids for name, ctids in wanted.items() if files.find(host, name) is None}
    for name, those in lost.items():
        fixed = [ctid for ctid in applied if ctid in those]
        if fixed:
            applied = [ctid for ctid in applied if ctid not in those]
            advice = (
                f"the JSON assigns {name}, which no file holds either: correct that first, then: "
                f"phoenix-apparmor apply {' '.join(fixed)}"
            )
    others = [conf for conf in confs if conf.ctid not in managed]
    fixes = [f"phoenix-apparmor apply {' '.join(applied)}"] if applied else []
    if others:
        advice = "; ".join(filter(None, [advice, _add_to_json(others)]))
    for conf in others:
        fixes += _by_hand(conf, set(kinds), right)
    severity, kind, value = wrong[0]
    evidence = f"{confs[0].path}: {'' if kind == 'dead' else 'lxc.apparmor.profile: '}{value}"
    return Finding(
        severity,
        f"{reading.cts(ctids)}: {what}",
        evidence,
        fix=reading.all_of(fixes),
        advice=advice,
        ctids=ctids,
    )


def _renamed(host: Host, value: str) -> str:
    """What to do about a name that does not begin with lxc-: a profile's, or a slip."""
    held = files.find(host, value) is not None
    meant = "" if held else validate.did_you_mean(value, paths.SHIPPED).replace("Did", "did")
    if '"unconfined"' in meant:
        meant += " With that nothing would confine it"
    if meant:
        return meant
    none = f"no file in {paths.APPARMOR_D} holds {value}"
    better = value.replace("_", "-") if value.startswith("lxc_") else f"lxc-{value}"
    if held:
        return f"rename the profile to {better}, in its file and wherever the JSON names it"
    named = "" if files.find(host, better) is None else f" (there is one called {better})"
    return f"{none} either{named}: name a profile that one has"


def _by_hand(conf: Conf, kinds: set[str], right: str) -> Iterator[str]:
    """Shell lines for a container that apply cannot set."""
    if kinds - {"file", "dead", "twice", "quoted"}:
        yield conf_edits.take_out(conf.path, conf_edits.PROFILE_LINE)
        return
    if "dead" in kinds:
        yield conf_edits.take_out(conf.path, r"lxc\.aa_profile")
    values = ctconf.conf_profiles(conf.text)
    if kinds & {"file", "twice", "quoted"}:
        yield conf_edits.set_profile(conf.path, right or lxcsettings.unquoted(values[-1]))
    if "twice" in kinds:
        yield conf_edits.keep_last_profile(conf.path)


def _add_to_json(confs: Iterable[Conf]) -> str:
    entries = ", ".join(f'"{conf.ctid}": {{}}' for conf in confs)
    return (
        f"without the line it is Proxmox's generated profile. For ours add {entries} to "
        "lxc_configs in the JSON"
    )


def unread(host: Host) -> Iterator[Finding]:
    """Configurations that cannot be read: no other check says anything of these containers."""
    for ctid, conf in containers.each_conf(host):
        if isinstance(conf, PhoenixError):
            yield Finding(
                "error",
                f"CT {ctid} cannot be started or checked: its configuration cannot be read.",
                conf.what,
                advice=conf.hint,
                ctids=(ctid,),
            )


def lost(host: Host) -> Iterator[Finding]:
    """Lines that Proxmox does not read: it loses them at its next rewrite of the file."""
    found: dict[str, list[Conf]] = {}
    for conf in reading.confs(host):
        for line in pveconf.lost_lines(conf.main):
            found.setdefault(line, []).append(conf)
    for line, confs in found.items():
        ctids = tuple(conf.ctid for conf in confs)
        key = re.split(r"[:=\s]", line)[0]
        indented = all(re.search(rb"(?m)^[ \t\r\f\v]+" + re.escape(key.encode()), c.text)
                       for c in confs)  # fmt: skip
        ours = line.startswith(APPARMOR_KEYS) and indented
        how = "an indented line" if indented else "this line"
        yield Finding(
            "warning",
            f"{reading.cts(ctids)}: Proxmox does not read {how}, and loses it the next "
            "time it writes the file.",
            f'{confs[0].path}: "{line}"{" with spaces before it" if indented else ""}',
            fix=reading.all_of(
                [conf_edits.take_out_indented(conf.path, re.escape(key)) for conf in confs]
            )
            if ours
            else "",
            advice="" if ours else _about_lost(confs[0].path, key, indented=indented),
            ctids=ctids,
        )


def _about_lost(path: str, key: str, *, indented: bool) -> str:
    if indented:
        return f"remove the spaces before it if it is intended, otherwise the line: {path}"
    if key.startswith("lxc.rootfs."):
        # in a file that is included it would replace the container's own root
        return (
            f"Proxmox sets {key} itself. Options of the root go into its own line, as in rootfs: "
            f"…,ro=1 or …,mountoptions=…; remove this one: {path}"
        )
    if lxcsettings.is_known(key) and not lxcsettings.is_passed_on(key):
        return (
            f"Proxmox does not take {key}: if it is needed, put the line, with = instead of the "
            "colon, into a file of root's and include that (lxc.include: /root/NAME.conf)"
        )
    if key.startswith("lxc.") and not lxcsettings.is_passed_on(key):
        return f"LXC has no {key}: correct the line, or remove it: {path}"
    return (
        "if it is intended, write its key in lower case at the very start of the line, directly "
        f"followed by the colon; otherwise remove the line: {path}"
    )


def hidden(host: Host) -> Iterator[Finding]:
    """A leftover of old instructions: AppArmor hidden from the programs in a container."""
    found = [
        (conf, entry.setting)
        for conf in reading.confs(host)
        for entry in conf.mount_entries
        if entry.place == HIDDEN
    ]
    if found:
        ctids = tuple(dict.fromkeys(conf.ctid for conf, _ in found))
        conf, setting = found[0]
        files = list(dict.fromkeys(setting.file for _, setting in found if setting.file))
        yield Finding(
            "warning",
            f"{reading.cts(ctids)}: a mount hides AppArmor from what runs inside. Docker then "
            "loads no profile for its containers. (Old instructions recommended this.)",
            f"{setting.file or conf.path}: {setting.line}",
            fix=""
            if files
            else reading.all_of(
                [
                    conf_edits.take_out(conf.path, r"lxc\.mount\.entry", setting.value)
                    for conf, setting in found
                ]
            ),
            advice=reading.take_out("that line", files),
            ctids=ctids,
        )


# Verdicts whose cause another check names.
TOLD = (
    "is invalid",
    "cannot be started: ",
    "next start will be refused: ",
    "It cannot be started.",
    "Its last good assignment is used",
)


def verdicts(host: Host) -> Iterator[Finding]:
    """What status says of each container, the same cause once; what other checks say is left."""
    found = collect.inspect(host, progress=lambda _: None)
    listing = reading.modes_if_known(host)
    told = {
        conf.ctid
        for conf in reading.confs(host)
        if conf.profile == "generated" or any(_wrong_lines(host, conf, listing))
    }
    causes: dict[tuple[str, str], list[report.Container]] = {}
    for container in found.containers:
        fails = [n for n in container.notes if report.OWN_FAILS in f"{n.what} {n.hint}"]
        if container.verdict not in report.OFF and not fails:
            continue
        note = (*fails, *container.notes, report.Note("", ""))[0]
        if any(words in note.what for words in TOLD) and not fails:
            continue
        if note.fix in (f"phoenix-apparmor apply {ctid}" for ctid in told & {container.ctid}):
            continue  # its lines are told, with the same fix
        causes.setdefault((container.verdict, note.what), []).append(container)
    for (verdict, what), those in causes.items():
        ctids = tuple(c.ctid for c in those)
        first = those[0]
        weak = any(c.label and labels.is_weak(c.label) for c in those)
        commands = [note.fix for c in those for note in c.notes[:1] if note.fix]
        yield Finding(
            "error" if weak or verdict == "refused" else "warning",
            f"{reading.cts(ctids)}: {f'{verdict}: ' if verdict in report.OFF else ''}{what}",
            _evidence(first),
            fix=reading.all_of(commands),
            advice="" if commands else first.notes[0].hint if first.notes else "",
            ctids=ctids,
        )


def _evidence(container: report.Container) -> str:
    if container.label:
        return f"the label of CT {container.ctid}'s init is {container.label}"
    if container.verdict == "refused" and container.notes[0].what.startswith(report.FAILED):
        return f"systemd has the unit pve-container@{container.ctid} as failed"
    return (
        f"{paths.conf(container.ctid)} says {container.in_conf or 'nothing that can be read'}, "
        f"assigned: {container.profile}"
    )
