"""Steps of the package's maintainer scripts that are more than a line of shell.

The scripts (debian/postinst, debian/prerm) call ``/usr/libexec/phoenix-apparmor/maintscript
configure|remove``. Each step stands on its own: one that fails says so and stops no other.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence

from phoenix_apparmor import containers, ctconf, lxcconf, paths
from phoenix_apparmor.errors import PhoenixError, as_error, one_line
from phoenix_apparmor.host import Host, forget_output, need_streams
from phoenix_apparmor.package import attaching
from phoenix_apparmor.policy import conffiles
from phoenix_apparmor.terminal.output import say, warn

# One line a container, "CTID VOLUME": those that the removal of the package detached.
DETACHED = paths.STATE + "/detached"
LOCAL_STORAGE = "/var/lib/vz"
TUNABLES_HOME = f"{paths.APPARMOR_D}/tunables/home"


def main(arguments: Sequence[str], host: Host | None = None) -> int:
    """Runs the steps of one occasion; exit status 1 if one of them failed."""
    need_streams()
    steps = {"configure": CONFIGURE, "remove": REMOVE}[arguments[0]]
    failed = False
    for step in steps:
        try:
            step(host or Host())
        except (PhoenixError, OSError, ImportError, ValueError) as error:
            failed = True
            for line in as_error(error).lines():
                _warn(line)
    forget_output()
    return 1 if failed else 0


def link_hookscript(host: Host) -> None:
    """Makes the hookscript a snippet of storage "local"; only where nothing else is there."""
    if not host.exists(LOCAL_STORAGE):
        return
    link = f"{LOCAL_STORAGE}/snippets/{paths.SNIPPET}"
    if host.exists(link):
        place = host.path(link)
        if not os.path.islink(place) or os.readlink(place) != paths.HOOKSCRIPT:
            raise PhoenixError(
                f"{link} is not our link and stays as it is.",
                hint=f"To use ours: ln -sf {paths.HOOKSCRIPT} {link}",
            )
        return
    host.make_folder(os.path.dirname(link))
    try:
        os.symlink(paths.HOOKSCRIPT, host.path(link))
    except OSError as error:
        raise PhoenixError(f"cannot make the link {link}: {error.strerror}.") from error


def detach_all(host: Host) -> None:
    """Takes our hookscript from this node's containers, and remembers from which.

    A container that names a hookscript that is gone does not start any more: so this
    raises PhoenixError, which keeps the package installed, when one cannot be changed.
    """
    if host.exists(paths.PVE_MODULE) and not host.exists(paths.CONF_FOLDER):
        raise PhoenixError(
            f"{paths.CONF_FOLDER} is not there, so it is unknown which containers name "
            "our hookscript; phoenix-apparmor stays.",
            hint="Start the cluster's file system, then run apt remove again: "
            "systemctl start pve-cluster",
        )
    before = dict(_detached(host))
    found = dict(_attached(host))
    # Before the first one: who is interrupted later still knows them all.
    _remember(host, before | found)
    failed = []
    for ctid in found:
        try:
            said = attaching.detach(host, ctid)
        except (PhoenixError, OSError, ImportError) as error:
            failed.append(as_error(error).about(ctid))
        else:
            _say(f"CT {ctid}: {said}")
    report_snapshots(host)
    if failed:
        for problem in failed:
            _warn(str(problem))
        left = {str(problem.ctid) for problem in failed}
        _remember(host, {c: v for c, v in (before | found).items() if c not in left})
        names = ", ".join(sorted(left, key=int))
        raise PhoenixError(
            f"without its hookscript CT {names} would not start, so phoenix-apparmor stays.",
            hint="Fix the above (if a container is locked, wait for its task), then run apt "
            "remove again.",
        )


def report_snapshots(host: Host) -> None:
    """Names the snapshots that bring our hookscript back: such a container would not start."""
    for conf in containers.confs(host):
        lines = conf.text.split(b"\n")
        names = []
        section = b""
        for line in lines[ctconf.main_section(lines) :]:
            section = ctconf.header_name(line) or section
            key, _, value = line.partition(b":")
            ours = paths.is_our_hookscript(ctconf.as_text(value.strip(ctconf.BLANK)))
            if key == b"hookscript" and ours:
                names.append(ctconf.as_text(section))
        if names:
            listed = ", ".join(dict.fromkeys(names))
            _warn(
                f"CT {conf.ctid}: snapshots name our hookscript: {listed}. After a rollback to one "
                f"it does not start until: pct set {conf.ctid} --delete hookscript"
            )


def reattach(host: Host) -> None:
    """Gives the hookscript back to the containers that a removal took it from."""
    left = {}
    problem = None
    for ctid, volume in _detached(host):
        try:
            storage = attaching.check_storage(host, volume.partition(":")[0])
            _say(f"CT {ctid}: {attaching.attach(host, ctid, storage)}")
        except (PhoenixError, OSError) as error:
            left[ctid] = volume
            problem = as_error(error).about(ctid)
    _remember(host, left)
    if problem is not None:
        raise problem


def retire_deprecated(host: Host) -> None:
    """Sets the deprecated profile aside as .dpkg-bak once no container names it."""
    path = f"{paths.APPARMOR_D}/{paths.DEPRECATED}"
    if not host.exists(path):
        return
    users = sorted(set(_users_of_deprecated(host)))
    if users:
        raise PhoenixError(
            f"the deprecated profile {paths.DEPRECATED} stays: {', '.join(users)} name it.",
            hint="Use lxc-nvidia-gpu-base or lxc-nvidia-gpu-docker there; "
            "the next upgrade then retires it.",
        )
    try:
        os.rename(host.path(path), host.path(path + ".dpkg-bak"))
    except OSError as error:
        raise PhoenixError(f"cannot set {path} aside: {error.strerror}.") from error
    _say(f"the deprecated profile {paths.DEPRECATED} is retired; kept as {path}.dpkg-bak")


def report_tunables_home(host: Host) -> None:
    """The old setup scripts' fix overwrote this file of the package apparmor; nobody but its
    owner can know what else was in it.
    """
    for conffile in conffiles.of_package(host, "apparmor"):
        if conffile.path == TUNABLES_HOME and conffile.state in ("modified", "missing"):
            raise PhoenixError(
                f"{TUNABLES_HOME} is {conffile.state}: perhaps an old setup script did that.",
                hint="To compare or get the original back: apt-get install --reinstall "
                "-o Dpkg::Options::=--force-confask,confmiss apparmor",
            )


def report_held_back(host: Host) -> None:
    """New versions of our profiles that are not in force, as the admin's edit was kept."""
    held = [c for c in conffiles.of_package(host) if c.held_back]
    if held:
        names = ", ".join(c.path for c in held)
        raise PhoenixError(
            f"edited, so this version's text is not in force: {names}.",
            hint=f"Move the edit to {conffiles.place_of_own(held[0].path)} and take the new text: "
            f"mv {held[0].waiting} {held[0].path} && phoenix-apparmor reload",
        )


Step = Callable[[Host], None]
CONFIGURE: tuple[Step, ...] = (
    link_hookscript,
    reattach,
    retire_deprecated,
    report_tunables_home,
    report_held_back,
)
REMOVE: tuple[Step, ...] = (detach_all,)


def _attached(host: Host) -> Iterator[tuple[str, str]]:
    """(CTID, volume) of this node's containers that have our hookscript."""
    for conf in containers.confs(host):
        volume = conf.option("hookscript")
        if volume is not None and paths.is_our_hookscript(volume):
            yield conf.ctid, volume


def _detached(host: Host) -> list[tuple[str, str]]:
    lines = (host.read_if_there(DETACHED) or b"").decode("utf-8", "replace").splitlines()
    return [(ctid, volume) for ctid, _, volume in (line.partition(" ") for line in lines) if volume]


def _remember(host: Host, record: dict[str, str]) -> None:
    """Writes DETACHED; no file where there is nothing to remember."""
    if record:
        host.own_folder(paths.STATE, 0o755)
        lines = (f"{ctid} {volume}\n" for ctid, volume in sorted(record.items()))
        host.replace(DETACHED, "".join(lines).encode())
    elif host.exists(DETACHED):
        os.unlink(host.path(DETACHED))


def _users_of_deprecated(host: Host) -> Iterator[str]:
    """Files that name the deprecated profile.

    Snapshots count, as a rollback brings their line back; so does every node's .conf, as
    containers migrate. Without Proxmox it is LXC's own configuration that says it.
    """
    name = paths.DEPRECATED.encode()
    for source in (*paths.JSON_FILES, paths.COPY):
        # As text, so that it also counts in a JSON that cannot be parsed today.
        if name in (host.read_if_there(source) or b""):
            yield source
    if host.exists(paths.CONF_FOLDER):
        nodes = [f"{paths.NODES}/{node}/lxc" for node in host.names(paths.NODES)]
        files = [
            f"{folder}/{n}" for folder in (paths.CONF_FOLDER, *nodes) for n in host.names(folder)
        ]
        setting = ctconf.lxc_setting
    else:
        files = [paths.runtime(container) for container in host.names(paths.LXC_FOLDER)]
        setting = lxcconf.setting_of
    for file in files:
        lines = (host.read_if_there(file) or b"").split(b"\n")
        if (ctconf.PROFILE_KEY, name) in map(setting, lines):
            yield file


def _say(text: str) -> None:
    """What was done matters more than that somebody reads it: a full disk stops no removal."""
    try:
        say(f"phoenix-apparmor: {one_line(text)}")
        sys.stdout.flush()
    except OSError:
        return


def _warn(text: str) -> None:
    try:
        warn(f"phoenix-apparmor: {text}")
    except OSError:
        return
