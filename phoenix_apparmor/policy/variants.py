"""Profiles made for one container: texts -> compiled, loaded at its start, removed after its stop.

Two reasons to have them: rules of one container, and a trial. Both need a profile beside the
assigned one, and both take it from the assigned one's file at the start: what is shipped as a
file of its own would miss local/, a site's own profiles and every upgrade in between. As the
container is in the profile's name, the kernel's log says whose a line is.

The kernel keeps 0.4 to 0.7 MiB for each, so they are loaded for as long as their container
runs; compiled they are kept in /var/cache/phoenix-apparmor.
"""

import contextlib
import os
import re
import shutil

from phoenix_apparmor import kernel, lxcconf, paths, variant
from phoenix_apparmor.assignments.parse import Assignment
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import WARNING, Host
from phoenix_apparmor.locks import Lock
from phoenix_apparmor.policy import compiled, files, load, policytext
from phoenix_apparmor.policy.files import ProfileFile
from phoenix_apparmor.policy.rules import parse

# Everything, by rule: what is not denied explicitly is the trial profile's to judge. But for other
# processes: there a profile keeps out of the host by what it has no rule for, and says nothing.
GUARD_ALLOWS = """\
  capability,
  network,
  file,
  mount,
  umount,
  pivot_root,
  dbus,
  unix,
"""
# With an abi above 3.0 the kernel asks about these as well.
GUARD_ALLOWS_NEW = """\
  userns,
  mqueue,
"""
# Of the size of a compiled policy, what the kernel takes for it: 6 with Linux 6.12, 3 with 6.1.
KERNEL_FACTOR = 6


def ensure(
    host: Host,
    ctid: str,
    assignment: Assignment,
    until: float,
    late: load.Late = lambda _: None,
) -> list[str]:
    """Loads what the container needs beside its profile, unless it is; the names loaded now.

    until: time.monotonic() of the end of the start's patience. late: is told of another loader
    that was not waited for longer. Raises PhoenixError where they cannot be: then the container
    must not start.
    """
    profile = assignment.profile
    if profile is None or not (assignment.trial or assignment.rules):
        return []
    wanted = texts(host, ctid, assignment)
    loaded = []
    with Lock(host, paths.LOADING_LOCK, wait=load.seconds_left(until) / 2) as lock:
        if not lock.held:
            late(lock.late())
        for name, text in wanted.items():
            if _bring(host, name, text, until):
                loaded.append(name)
        _check_modes(host, tuple(wanted), trial=assignment.trial)
    if assignment.trial:
        # What tells when the trial began: its time stays as long as it lasts.
        mark = f"{paths.VARIANTS}/{lxcconf.trial_mark(profile, ctid)}"
        if not host.exists(mark):
            host.replace(mark, b"")
    return loaded


def texts(host: Host, ctid: str, assignment: Assignment) -> dict[str, bytes]:
    """Name -> text of the profiles that an assignment needs beside the assigned one."""
    profile = assignment.profile or ""
    file = files.find(host, profile)
    if file is None:
        raise PhoenixError(
            f"profile {profile} is in no file in {paths.APPARMOR_D}, so no variant of it can be "
            "made for this container.",
            hint=f"Put it there, or remove {_reason(assignment)} from its JSON entry.",
        )
    names = assignment.variants(ctid)
    if not all(files.NAME_SAFE.fullmatch(name) for name in names):
        raise PhoenixError(
            f"a profile called {profile} cannot have variants.",
            hint="Use letters, digits, dots, dashes and underscores in its name only.",
        )
    text = variant.text_of(file.text, profile, names[0], assignment.rules, trial=assignment.trial)
    if text is None:
        raise PhoenixError(
            f"no variant of {profile} can be made from {file.path}: it must hold one profile, "
            "with its name, its flags and its opening brace on one line.",
            hint=f"Rewrite it that way, or remove {_reason(assignment)} from the container's JSON "
            "entry.",
        )
    for name in names:
        other = files.find(host, name)
        if other is not None:
            raise PhoenixError(
                f"{other.path} has a profile {name}, the name of this container's variant.",
                hint="Call that profile something else.",
            )
    result = {names[0]: text}
    if assignment.trial:
        result[names[1]] = guard(host, file, names[1], assignment.rules)
    return result


def check(
    host: Host, ctid: str, assignment: Assignment, rules: tuple[str, ...], *, keep: bool
) -> None:
    """Raises PhoenixError where the container's profile with these rules does not compile.

    keep: they are, or will be, those of its entry, so its next start finds the policy compiled.
    """
    assumed = assignment._replace(rules=rules or ("file,",), trial=False)
    [(name, text)] = texts(host, ctid, assumed).items()
    file = ProfileFile(name, f"{paths.VARIANTS}/{name}", text)
    compiled.compile_text(host, file, keep=keep and bool(rules))


def try_out(host: Host, ctid: str, assignment: Assignment) -> None:
    """Raises PhoenixError where ensure would, as far as that is known without the kernel.

    What is compiled for that is kept, so it is done once, and the next start need not.
    """
    wanted = texts(host, ctid, assignment)
    for number, (name, text) in enumerate(wanted.items()):
        file = ProfileFile(name, f"{paths.VARIANTS}/{name}", text)
        if host.has_program("apparmor_parser"):
            compiled.compile_text(host, file, keep=True)
        flags = policytext.flags(text.decode("utf-8", "surrogateescape"), name)
        weak = flags & files.WEAK_FLAGS
        if weak and not (assignment.trial and number == 0):
            raise PhoenixError(
                f"profile {name}, made for it, would be in {next(iter(weak))} mode.",
                hint=f"Remove that from the flags of {assignment.profile}, then: {files.RELOAD}",
            )


def _reason(assignment: Assignment) -> str:
    return '"apparmor_mode": "trial"' if assignment.trial else "apparmor_rules"


def guard(host: Host, file: ProfileFile, name: str, rules: tuple[str, ...]) -> bytes:
    """The enforcing half of a trial: everything is allowed but what is denied explicitly.

    A profile in complain mode holds its plain denies, but not those of execution, and none at
    all when the kernel is told to log them (noquiet); and root leaves it by one write to
    attr/current. Without a change_profile rule in the guard nobody leaves the stack.
    """
    denies = _denies(host, file, rules)
    preamble = file.text.decode("utf-8", "surrogateescape")
    preamble = preamble[: re.search(r"^profile[ \t]", preamble, re.MULTILINE).start()]  # type: ignore[union-attr]
    newer = "<abi/3.0>" not in preamble and host.exists(f"{paths.APPARMOR_D}/abi/4.0")
    allows = GUARD_ALLOWS + (GUARD_ALLOWS_NEW if newer else "")
    body = "".join(f"  {line}\n" for line in (*_for_peers(host, file, rules), *denies))
    text = (
        f"{preamble}profile {name} flags=(attach_disconnected,mediate_deleted) "
        f"{{\n{allows}\n{body}}}\n"
    )
    return text.encode("utf-8", "surrogateescape")


def _for_peers(host: Host, file: ProfileFile, own: tuple[str, ...]) -> list[str]:
    """Rules for signals and ptrace: those of the profile, and within all that is under it.

    Labels of a trial's processes, and of those under rules of their own, begin with its name.
    """
    text = policytext.body(file.text.decode("utf-8", "surrogateescape"), file.name) or ""
    parts = [*policytext.expand(text, file.path, lambda name: compiled.included(host, name))]
    parts.append(policytext.Text("", "".join(f"{rule}\n" for rule in own)))
    found = [f"{kind} peer={file.name}{{,.**,//**}}," for kind in ("signal", "ptrace")]
    for part in parts:
        bare = policytext.without_includes(part.text)
        for profile in parse(f"profile x {{\n{bare}\n}}\n")[:1]:
            found += [
                rule.text
                for rule in profile.rules
                if rule.kind in ("signal", "ptrace") and not rule.denies
            ]
    return list(dict.fromkeys(found))


def _denies(host: Host, file: ProfileFile, rules: tuple[str, ...]) -> list[str]:
    """All explicit denies of a profile and of the container's own rules, each once."""
    text = file.text.decode("utf-8", "surrogateescape")
    parts = [*policytext.expand(text, file.path, lambda name: compiled.included(host, name))]
    parts.append(policytext.Text("", "".join(f"{rule}\n" for rule in rules)))
    found = [
        f"{'audit ' if rule.audited else ''}{rule.text}" for rule in policytext.deny_rules(parts)
    ]
    said = sum(len(re.findall(r"(?<![\w/-])deny(?![\w/-])", part)) for _, part in parts)
    if said != len(found):
        raise PhoenixError(
            f"profile {file.name} has {said} denies, of which {len(found)} can be read: no "
            "guard for a trial can be made of it.",
            hint="Write each deny as a rule on a line of its own: deny PATH PERMISSIONS,",
        )
    return list(dict.fromkeys(found))


def _bring(host: Host, name: str, text: bytes, until: float) -> bool:
    """Makes the kernel have a variant with this text; whether it had to be loaded."""
    path = f"{paths.VARIANTS}/{name}"
    host.own_folder(paths.VARIANTS, 0o755)
    if host.read_if_there(path) != text:
        host.replace(path, text, mode=0o600)
    file = ProfileFile(name, path, text)
    policy = compiled.kept(host, file)
    if policy is None:
        policy = compiled.compile_file(host, file, timeout=load.seconds_left(until))
    mode = kernel.mode_of(kernel.profile_list(host) or b"", name)
    if mode is not None and load.is_loaded(host, name, policy.data):
        return False
    if policy.path:
        load.load_compiled(host, file, policy.path, timeout=load.seconds_left(until))
    else:
        load.load(host, file, timeout=load.seconds_left(until))
    return True


def compiled_size(host: Host, name: str) -> int:
    """Bytes of a variant's compiled policy, 0 if it is not known."""
    folder = f"{paths.COMPILED}/{name}"
    found = (host.stat(f"{folder}/{policy}") for policy in host.names(folder))
    return sum(seen.st_size for seen in found if seen is not None)


def _check_modes(host: Host, names: tuple[str, ...], *, trial: bool) -> None:
    loaded = kernel.profile_list(host) or b""
    for number, name in enumerate(names):
        mode = kernel.mode_of(loaded, name)
        wanted = "complain" if trial and number == 0 else "enforce"
        if mode != wanted:
            raise PhoenixError(
                f"profile {name} should be in {wanted} mode in the kernel and is "
                f"{'not loaded' if mode is None else f'in {mode} mode'}.",
                hint=f"Try it by hand: apparmor_parser -r -T {paths.VARIANTS}/{name}",
            )


def remove(host: Host, ctid: str) -> list[str]:
    """After the stop: takes the container's variants out of the kernel; which.

    The caller has made sure that no process of the container is left: one would be unconfined
    from then on. A guard goes when no trial of its profile is left.
    """
    loaded = kernel.profile_list(host)
    if loaded is None or f".{ctid}".encode() not in loaded:
        return []
    removed = []
    with Lock(host, paths.LOADING_LOCK, wait=load.LOCK_SECONDS) as lock:
        if not lock.held:
            what = f"CT {ctid}: what was loaded for it alone stays: {lock.late().what}"
            host.journal(WARNING, what, ctid=ctid)
            return []
        for name in _own(host, kernel.all_modes(loaded), ctid):
            kernel.remove_profile(host, name)
            removed.append(name)
        left = kernel.all_modes(kernel.profile_list(host) or b"").keys() - set(removed)
        for name in removed:
            base = name.removesuffix(".trial").removesuffix(f".{ctid}")
            guard_name = lxcconf.variants(base, ctid, trial=True, rules=False)[-1]
            in_use = any(n.startswith(f"{base}.") and n.endswith(".trial") for n in left)
            if guard_name in left and not in_use and name.endswith(".trial"):
                kernel.remove_profile(host, guard_name)
                left.discard(guard_name)
    return removed


def _own(host: Host, modes: dict[str, str], ctid: str) -> list[str]:
    """Loaded variants of one container: those whose text is ours, not a site's profile."""
    endings = (f".{ctid}.trial", f".guard.{ctid}", f".{ctid}")
    return [
        name
        for name in modes
        if name.endswith(endings) and "/" not in name and host.exists(f"{paths.VARIANTS}/{name}")
    ]


def forget(host: Host, ctid: str, keep: tuple[str, ...]) -> None:
    """Removes the texts of variants that a container has no more.

    But of those that the kernel has: by its text, remove knows one as ours, and a start may come
    before the ExecStopPost of the stop before it, as `pct stop` does not wait for that. The unit's
    own step, which comes after it, then forgets them.
    """
    endings = (f".{ctid}.trial", f".{ctid}.trial.began", f".guard.{ctid}", f".{ctid}")
    loaded = kernel.all_modes(kernel.profile_list(host) or b"")
    # (What was only checked has a policy and no text.)
    for name in sorted({*host.names(paths.VARIANTS), *host.names(paths.COMPILED)}):
        if name.removesuffix(".began") in {*keep, *loaded} or not name.endswith(endings):
            continue
        with contextlib.suppress(FileNotFoundError):
            os.unlink(host.path(f"{paths.VARIANTS}/{name}"))
        shutil.rmtree(host.path(f"{paths.COMPILED}/{name}"), ignore_errors=True)
