"""Checks of what the containers' configurations say about their profile, and what they run."""

from collections.abc import Iterator

from phoenix_apparmor import containers, ctconf, labels, paths
from phoenix_apparmor.containers import Conf
from phoenix_apparmor.doctor.finding import Finding
from phoenix_apparmor.host import Host
from phoenix_apparmor.status import collect, report

RAW_KEY = "lxc.apparmor.raw"
NESTING_KEY = "lxc.apparmor.allow_nesting"
KEYS = (ctconf.PROFILE_KEY, ctconf.DEAD_KEY)


def sections(host: Host) -> Iterator[Finding]:
    """Profile lines that wait in a snapshot or a pending change."""
    for conf in containers.confs(host):
        wanted = conf.profile
        section = ""
        odd: dict[str, str] = {}
        for line in conf.text.split(b"\n"):
            header = ctconf.header_name(line)
            if header is not None:
                section = header.decode()
            setting = ctconf.lxc_setting(line)
            if section and setting is not None and setting[0] in KEYS:
                value = ctconf.as_text(setting[1])
                if value != wanted or section == "pve:pending":
                    odd[section] = value
        for section, value in odd.items():
            if section == "pve:pending":
                yield Finding(
                    "warning",
                    f"CT {conf.ctid} has a pending profile line: at the next start, what is "
                    "pending replaces all its lxc lines, devices and mounts too.",
                    f"{conf.path}, section [pve:pending]: {value}",
                    f"pct config {conf.ctid} ; take the lxc lines out of [pve:pending] in "
                    f"{conf.path}",
                )
            else:
                yield Finding(
                    "note",
                    f"CT {conf.ctid}: snapshot {section} has profile {value}; a rollback brings "
                    "it back until the next start.",
                    f"{conf.path}, section [{section}]",
                )


def profile_lines(host: Host) -> Iterator[Finding]:
    """The profile line itself: once, the right key, a name that works."""
    for conf in containers.confs(host):
        values = ctconf.conf_profiles(conf.text)
        keys = [key for key, _ in conf.lxc()]
        mend = f"phoenix-apparmor apply {conf.ctid}"
        if ctconf.DEAD_KEY.decode() in keys:
            yield Finding(
                "error",
                f"CT {conf.ctid} has the dead key lxc.aa_profile: LXC does not start it.",
                conf.path,
                mend,
            )
        if len(values) > 1:
            yield Finding(
                "warning",
                f"CT {conf.ctid} has {len(values)} profile lines; the last one counts.",
                f"{conf.path}: {', '.join(values)}",
                mend,
            )
        if values:
            yield from _value(conf, values[-1], mend)


def _value(conf: Conf, value: str, mend: str) -> Iterator[Finding]:
    """What is wrong with the value that counts."""
    where = f"{conf.path}: lxc.apparmor.profile: {value}"
    who = f"CT {conf.ctid}"
    if value == "unconfined":
        what = f"{who} is configured unconfined: nothing holds root in it."
        yield Finding("error", what, where, mend)
    elif value == "":
        what = f"{who} has a profile line without a profile: LXC takes its own "
        yield Finding("warning", what + "lxc-container-default-cgns.", where, mend)
    elif "#" in value or " " in value:
        what = f"{who} has a profile name that no profile has: what is behind a value is part of it"
        yield Finding("error", f"{what}, comments too.", where, mend)
    elif value != "generated" and not value.startswith("lxc-"):
        better = value.replace("_", "-") if value.startswith("lxc_") else f"lxc-{value}"
        what = f"{who} cannot start: lxc-start may only change to names that begin with "
        yield Finding(
            "error",
            f'{what}"lxc-", and hangs with others.',
            where,
            f"rename the profile to {better} (file, name, JSON), then: {mend}",
        )


def features(host: Host) -> Iterator[Finding]:
    """Features that Proxmox writes AppArmor rules for, which an explicit profile overrides."""
    for conf in containers.confs(host):
        profile = conf.profile
        if profile in (None, "generated"):
            continue
        parts = (part.strip() for part in (conf.option("features") or "").split(","))
        words = {name: value for name, _, value in (part.partition("=") for part in parts)}
        seen = f"{conf.path}: features: {conf.option('features')}, lxc.apparmor.profile: {profile}"
        if words.get("nesting") == "1":
            if profile == paths.DOCKER:
                means = f"{paths.DOCKER} has what Docker and nested containers need."
                fix = ""
            else:
                means = f"Under {profile}, Docker and nested containers do not work."
                fix = f'if it runs Docker, assign "{paths.DOCKER}" to CT {conf.ctid} in the JSON'
            yield Finding(
                "note",
                f"CT {conf.ctid}: the profile overrides nesting=1. {means}",
                seen,
                fix,
            )
        if words.get("fuse") == "1":
            yield Finding(
                "note",
                f"CT {conf.ctid}: the profile overrides fuse=1. Our profiles allow FUSE anyway.",
                seen,
            )
        if types := [word for word in words.get("mount", "").split(";") if word]:
            rules = " ".join(f"mount fstype={kind}," for kind in types)
            yield Finding(
                "warning",
                f"CT {conf.ctid}: the profile overrides mount={';'.join(types)}: these mounts "
                "are refused inside.",
                seen,
                f"echo '{rules}' >>{paths.APPARMOR_D}/local/{profile} && phoenix-apparmor reload "
                "# for all containers under it",
            )


def overridden_lines(host: Host) -> Iterator[Finding]:
    """AppArmor lines of the user's own that are for the generated profile."""
    for conf in containers.confs(host):
        if conf.profile in (None, "generated"):
            continue
        settings = list(conf.lxc())
        raw = [value for key, value in settings if key == RAW_KEY]
        if raw:
            yield Finding(
                "warning",
                f"CT {conf.ctid}: {RAW_KEY} does nothing under an explicit profile.",
                f"{conf.path}: {raw[0]}",
                f"put the rule into {paths.APPARMOR_D}/local/{conf.profile}, then: "
                f"phoenix-apparmor reload, and take the line out of {conf.path}",
            )
        if (NESTING_KEY, "1") in settings:
            yield Finding(
                "warning",
                f"CT {conf.ctid}: {NESTING_KEY} mounts the unmasked /dev/.lxc/{{proc,sys}} into "
                "it whatever its profile is; only the profile's denies guard them.",
                f"{conf.path}: {NESTING_KEY}: 1",
                f"take the line out of {conf.path}: where it is needed, phoenix-apparmor sets it",
            )


def verdicts(host: Host) -> Iterator[Finding]:
    """What status says of each container; the worst are named."""
    found = collect.inspect(host, progress=lambda _: None)
    for container in found.containers:
        if container.verdict not in report.OFF:
            continue
        note = container.notes[0] if container.notes else report.Note("", "")
        label = container.label or ""
        weak = bool(label) and labels.is_weak(label)
        yield Finding(
            "error" if weak or container.verdict == "refused" else "warning",
            f"CT {container.ctid}: {container.verdict}: {note.what}",
            f"its init runs as {label}" if label else "phoenix-apparmor status",
            # what status says right below, doctor says in a check of its own
            note.hint
            if "pct" in note.hint or "phoenix" in note.hint
            else f"phoenix-apparmor status {container.ctid}",
        )
