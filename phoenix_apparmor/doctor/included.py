"""Checks of what a container gets from other files, and of lxc lines that LXC passes over."""

import os
import re
import shlex
from collections.abc import Iterator

from phoenix_apparmor import lxcsettings, pveconf
from phoenix_apparmor.containers import Conf
from phoenix_apparmor.doctor import conf_edits, features, reading
from phoenix_apparmor.doctor.finding import Finding
from phoenix_apparmor.host import Host
from phoenix_apparmor.lxcsettings import Entry, Setting

# What an included file must not set beside the profile line: LXC takes the last of several.
CONFINING = ("lxc.apparmor.", "lxc.seccomp.", "lxc.idmap")
# Of these our start says the last word, behind all files (lxcconf.with_our_lines).
OVERRIDDEN = ("lxc.apparmor.profile", "lxc.apparmor.allow_nesting", "lxc.apparmor.raw",
              "lxc.seccomp.profile")  # fmt: skip


def settings(host: Host) -> Iterator[Finding]:
    """Files that .conf includes and that say how the container is confined."""
    found: dict[tuple[Setting, str], list[Conf]] = {}
    unread: dict[tuple[str, str], list[Conf]] = {}
    assigned = reading.assigned(host)
    for conf in reading.confs(host):
        for name, why in conf.unread:
            unread.setdefault((name, why), []).append(conf)
        known = assigned.get(conf.ctid)
        is_ours = known is not None and known.profile is not None
        for setting in conf.settings:
            if setting.file and setting.key.startswith(CONFINING):
                does = _what_it_does(conf, setting, is_ours=is_ours)
                found.setdefault((setting, does), []).append(conf)
    for (name, why), confs in unread.items():
        ctids = tuple(conf.ctid for conf in confs)
        yield Finding(
            "unknown",
            f"cannot tell what {reading.cts(ctids)} gets from {name}, which is not read: {why}.",
            f"{confs[0].path}: lxc.include or lxc.mount.fstab, or a file that it includes",
            advice="name it by its whole path, and let only root change it and its folders",
            ctids=ctids,
        )
    for (setting, does), confs in found.items():
        ctids = tuple(conf.ctid for conf in confs)
        takes = setting.key == "lxc.apparmor.profile" and does == TAKES
        yield Finding(
            "error" if takes else "warning",
            f"{reading.cts(ctids)}: a file that .conf includes sets {setting.line}, {does}.",
            f"{confs[0].path} includes {setting.file}",
            advice=_without(confs[0], setting),
            ctids=ctids,
        )


def _without(conf: Conf, setting: Setting) -> str:
    """How a container is rid of it; a file of LXC's own comes back with each upgrade."""
    out = reading.take_out("that line", [setting.file])
    if not setting.file.startswith(reading.LXC_SHARE):
        return f"{out}, or the include out of .conf"
    nests = pveconf.has_feature(conf.features, "nesting")
    if not setting.file.endswith("/nesting.conf") or nests:
        return out
    if not (conf.is_unprivileged and conf.is_whole):
        return f"{out}; better not nesting=1 instead: {features.NESTING_OPENS}"
    value = shlex.quote(pveconf.with_feature(conf.option("features"), "nesting"))
    return f"{out}; what it is for, Proxmox does: pct set {conf.ctid} --features {value}"


TAKES = "which LXC takes instead of what .conf says"


def _what_it_does(conf: Conf, setting: Setting, *, is_ours: bool) -> str:
    """Continues "a file that .conf includes sets …". is_ours: whether it is assigned a profile."""
    if setting.key == "lxc.idmap":
        return (
            "by which LXC maps its users; Proxmox and phoenix-apparmor see only .conf, and treat "
            f"it as {'un' if conf.says_unprivileged else ''}privileged"
        )
    if is_ours and setting.key in OVERRIDDEN:
        return (
            "which phoenix-apparmor takes back at each start; whatever else starts it takes it "
            "instead of what is assigned"
        )
    if setting.key == "lxc.apparmor.profile":
        used = lxcsettings.last(conf.settings, setting.key)
        return TAKES if used == setting else "which a later line of its configuration takes back"
    return "which LXC takes besides what .conf says"


def ignored(host: Host) -> Iterator[Finding]:
    """Mounts at a place that begins with a slash: of these LXC only warns in its own log."""
    for conf in reading.confs(host):
        entries = lxcsettings.ignored_entries(conf.settings)
        if entries:
            places = reading.listed([entry.place for entry in entries])
            yield Finding(
                "warning",
                f"CT {conf.ctid}: LXC ignores a mount at {places}, as the place in its line begins "
                "with a slash.",
                "; ".join(
                    f"{entry.setting.file or conf.path}: {entry.setting.line}" for entry in entries
                ),
                advice="write the place without the slash: "
                + ", ".join(entry.target for entry in entries),
                ctids=(conf.ctid,),
            )
        yield from _without_place(host, conf)


def _without_place(host: Host, conf: Conf) -> Iterator[Finding]:
    """Nodes that are mounted where nothing is: with "optional" LXC goes on, without it ends."""
    if pveconf.is_template(conf.main):
        return
    # with an option as well, what LXC passes over harms nobody
    given = {device.node for device in pveconf.devices(conf.main)}
    lacking = [
        entry
        for entry in lxcsettings.without_place(conf.settings)
        if host.exists(entry.source) and (entry.must_be_there or entry.place not in given)
    ]
    for needed in (True, False):
        entries = [entry for entry in lacking if entry.must_be_there is needed]
        if not entries:
            continue
        nodes = reading.listed([entry.place for entry in entries])
        files = list(dict.fromkeys(e.setting.file for e in entries if e.setting.file))
        yield Finding(
            "error" if needed else "warning",
            f"CT {conf.ctid} "
            + ("cannot start" if needed else f"does not get {nodes}")
            + f": /dev in it begins empty, and without create=file LXC has nothing to mount "
            f"{nodes if needed else ('it' if len(entries) == 1 else 'them')} on.",
            "; ".join(
                e.setting.said if e.setting.file else f"{conf.path}: {e.setting.said}"
                for e in entries
            ),
            fix="" if files else reading.all_of([_with_place(host, conf, e) for e in entries]),
            advice=f"add create=file to the options of those lines in {reading.listed(files)}"
            if files
            else "",
            ctids=(conf.ctid,),
        )


def _with_place(host: Host, conf: Conf, entry: Entry) -> str:
    """Writes the option into its line; where a devN gives the node too, takes the line out."""
    if any(device.node == entry.place for device in pveconf.devices(conf.main)):
        return conf_edits.take_out(conf.path, r"lxc\.mount\.entry", entry.setting.value)
    kind = "dir" if os.path.isdir(host.path(entry.source)) else "file"
    words = re.split(r"(\s+)", entry.setting.value)
    words[6] += f",create={kind}"  # the options are the fourth word, with the blanks between them
    value = entry.setting.value
    line = f"{entry.setting.key}: {''.join(words)}"
    return conf_edits.rewrite(conf.path, r"lxc\.mount\.entry", value, line)
