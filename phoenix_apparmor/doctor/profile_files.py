"""Checks of profiles: in their files, in the kernel, and whether both agree."""

import shlex
from collections.abc import Iterator

from phoenix_apparmor import kernel, paths, trial
from phoenix_apparmor.doctor import reading
from phoenix_apparmor.doctor.finding import Finding
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host
from phoenix_apparmor.policy import compiled, conffiles, files, load

FOLDERS = (paths.APPARMOR_D, paths.APPARMOR_D + "/abstractions/phoenix")
WAITING = (".dpkg-dist", ".dpkg-new")
REINSTALL = "apt-get install --reinstall -o Dpkg::Options::=--force-confmiss phoenix-apparmor"


def present(host: Host) -> Iterator[Finding]:
    """A file for each profile that ships, and for each that is assigned."""
    for name in paths.SHIPPED:
        if files.find(host, name) is None:
            yield Finding(
                "error",
                f"profile {name} has no file.",
                f"{paths.APPARMOR_D}/{name} is missing or does not hold it",
                REINSTALL,
            )
    for name, ctids in sorted(reading.wanted_profiles(host).items()):
        if name not in paths.SHIPPED and files.find(host, name) is None:
            instead = trial.assignable(host, name)
            advice = (
                f"put the profile into {paths.APPARMOR_D} or correct its name in the JSON, then: "
                f"{files.RELOAD}"
            )
            if instead:
                advice = f'it {trial.MADE}: assign "{instead}" in the JSON'
            yield Finding(
                "error",
                f"profile {name} has no file, and {reading.cts(ctids)} must run under it.",
                f"no file in {paths.APPARMOR_D} holds it",
                advice=advice,
                ctids=tuple(ctids),
            )


def loaded(host: Host) -> Iterator[Finding]:
    """Each profile of ours enforced by the kernel."""
    if kernel.listing(host) is None:
        return  # no AppArmor: told by the first check
    if kernel.overriding_mode(host):
        return  # told by the first check too
    modes = reading.modes(host)
    for file in _ours(host):
        link = files.switched_off(host, file)
        mode = modes.get(file.name)
        if link is not None:
            yield Finding(
                "error",
                f"profile {file.name} is {files.off_by(link)}: it confines nothing.",
                f"{link} is there",
                f"rm {link} && {files.RELOAD}",
            )
        elif mode is None:
            if not compiled.compiles(host, file):
                continue  # told with the reason; a reload would fail for it
            yield Finding(
                "error",
                f"profile {file.name} is not in the kernel.",
                f"{file.path} holds it, {paths.KERNEL_PROFILES} does not list it",
                files.RELOAD,
            )
        elif mode not in kernel.ENFORCING:
            yield Finding(
                "error",
                f"profile {file.name} is in {mode} mode: it stops nothing.",
                f"{paths.KERNEL_PROFILES} says {file.name} ({mode})",
                fix=f"sed -E -i {shlex.quote(_without_flag(mode))} {file.path} && {files.RELOAD}"
                if mode in ("complain", "unconfined", "prompt")
                else "",
            )


def _without_flag(mode: str) -> str:
    """For sed: takes a flag out of the flags=(…) of a profile, the brackets too if it was alone."""
    alone = rf"s/ *flags=\({mode}\)//"
    first, later = rf"s/flags=\({mode}, */flags=(/", rf"s/(flags=\([^)]*), *{mode}\b/\1/"
    return f"/^profile/{{{alone};{first};{later}}}"


def compiles(host: Host) -> Iterator[Finding]:
    """Each file compiles, and the kernel runs just what it says."""
    modes = None if kernel.listing(host) is None else reading.modes(host)
    unseen: list[str] = []
    for file in _ours(host):
        try:
            policy = compiled.policy_of(host, file)
        except compiled.TooLargeError as error:
            what = f"cannot tell whether profile {file.name} compiles."
            yield Finding("unknown", what, error.what, advice=error.hint)
            continue
        except PhoenixError as error:
            if not host.has_program("apparmor_parser"):
                raise
            absent = modes is not None and file.name not in modes
            more = " The kernel does not have it either: nothing starts under it." if absent else ""
            yield Finding("error", error.what + more, file.path, advice=error.hint)
            continue
        if modes is None or file.name not in modes or files.switched_off(host, file) is not None:
            continue  # told by another check
        held = kernel.policy_hash(host, file.name)
        if held is None:
            unseen.append(file.name)
        elif not load.is_loaded(host, file.name, policy):
            yield Finding(
                "warning",
                f"the kernel runs a different version of {file.name} than its file.",
                f"raw_{held[0]} in {paths.KERNEL}/policy/profiles/{file.name}.* is not that of "
                f"the compiled {file.path}",
                files.RELOAD,
            )
    if unseen:
        yield Finding(
            "unknown",
            f"cannot tell whether the kernel runs what the files of {reading.listed(unseen)} say.",
            "this kernel keeps no hash of a policy",
        )


def held_back(host: Host) -> Iterator[Finding]:
    """What dpkg left beside a file: a new version that is not in force."""
    for folder in FOLDERS:
        for name in host.names(folder):
            path, _, ending = f"{folder}/{name}".rpartition(".")
            base = path.rpartition("/")[2]
            ours = base.startswith("lxc-") or folder.endswith("/phoenix")
            if not ours or f".{ending}" not in WAITING:
                continue
            what = f"the new version of {base} is not in force: "
            if ending == "dpkg-dist":
                what += "yours was kept."
                fix = f"mv {path}.{ending} {path} && {files.RELOAD}"
                own = conffiles.place_of_own(path)
                advice = (
                    f"first move what you added to {own}; see it: diff -u {path} {path}.{ending}"
                )
            else:
                what += "dpkg waits for an answer."
                fix, advice = "dpkg --configure -a", ""
            yield Finding("warning", what, f"{path}.{ending} is there", fix, advice)


def edited(host: Host) -> Iterator[Finding]:
    """Edits in what the package ships: each upgrade will ask about them."""
    if not host.exists("/var/lib/dpkg/status"):
        return
    for file in conffiles.of_package(host):
        if file.state == "modified":
            yield Finding(
                "note",
                f"{file.path} is edited, so upgrades do not replace it.",
                "its text is not the one that the package shipped",
                advice=f"move what you added to {conffiles.place_of_own(file.path)}, "
                "which survives upgrades",
            )
        elif file.state == "missing":
            yield Finding(
                "warning",
                f"{file.path} was deleted.",
                "the package ships it",
                REINSTALL,
            )


def deprecated(host: Host) -> Iterator[Finding]:
    """The deprecated profile: there, loaded, or in use."""
    users = [conf.ctid for conf in reading.confs(host) if conf.profile == paths.DEPRECATED]
    users += [c for c in reading.wanted_profiles(host).get(paths.DEPRECATED, ()) if c not in users]
    if users:
        yield Finding(
            "warning",
            f"the deprecated profile {paths.DEPRECATED} is in use by {reading.cts(users)}.",
            "their .conf or the JSON names it",
            advice='assign "lxc-nvidia-gpu-base" in the JSON, then: phoenix-apparmor apply --all',
            ctids=tuple(users),
        )
    path = f"{paths.APPARMOR_D}/{paths.DEPRECATED}"
    if host.exists(path):
        yield Finding(
            "note" if not users else "warning",
            f"the deprecated profile {paths.DEPRECATED} is still there.",
            f"{path} is there",
            # it stays in the kernel till the next boot: unloading would free what runs under it
            "" if users else f"rm {path}",
            "remove it when nothing uses it any more" if users else "",
        )


def underscores(host: Host) -> Iterator[Finding]:
    """Profiles that lxc-start may not change to: its own profile says change_profile -> lxc-*."""
    for path in files.policy_files(host):
        try:
            text = host.read(path, 1 << 20)
        except OSError:
            continue
        for name in files.declared_names(text):
            if name.startswith("lxc_"):
                yield Finding(
                    "note",
                    f'profile {name} is not usable: only names that begin with "lxc-" are.',
                    f"{path} holds it",
                    advice=f"rename it to {name.replace('_', '-')}, file and profile, or remove "
                    f"{path}",
                )


def _ours(host: Host) -> list[files.ProfileFile]:
    return files.ours(host, frozenset(reading.wanted_profiles(host)))
