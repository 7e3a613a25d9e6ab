"""Profile files -> kernel: only what differs, each one on its own, never unloading anything.

A running container whose profile is unloaded becomes unconfined and stays so; replacing
keeps its label and gives it the new rules at once.
"""

import hashlib
import itertools
import re
import time
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from phoenix_apparmor import kernel, paths
from phoenix_apparmor.errors import PhoenixError, as_error
from phoenix_apparmor.host import Host
from phoenix_apparmor.locks import Lock
from phoenix_apparmor.policy import compiled, files
from phoenix_apparmor.policy.files import ProfileFile

# The tag "version" with its number, then the tag "profile", or before it "namespace". A tag is a
# byte 4, its length with the final zero, its name; a number a byte 2 and four more (the kernel's
# policy_unpack.c). The permission tables in a profile have a version too (Linux 6.17).
BEGIN_OF_PROFILE = re.compile(
    rb"\x04\x08\0version\0\x02.{4}\x04(?:\x08\0profile|\x0a\0namespace)\0", re.DOTALL
)

LOCK_SECONDS = 60

Late = Callable[[PhoenixError], None]
Action = Literal["loaded", "replaced", "unchanged", "skipped", "failed"]


class Outcome(NamedTuple):
    """What became of one profile; why for those skipped or failed, else ""."""

    name: str
    path: str
    action: Action
    why: str = ""
    hint: str = ""


def reload(
    host: Host, files: list[ProfileFile], *, dry_run: bool = False, late: Late = lambda _: None
) -> Iterator[Outcome]:
    """Brings the kernel to what the files say, one Outcome a file as it is done.

    A file that fails keeps its old policy in the kernel and stops no other. dry_run
    compiles and compares only. late: is told of another loader that was not waited for longer.
    """
    with Lock(host, paths.LOADING_LOCK, wait=LOCK_SECONDS) as lock:
        if not lock.held:
            late(lock.late())
        for file in files:
            try:
                yield _bring(host, file, dry_run)
            except (PhoenixError, OSError, UnicodeError) as error:
                bad = as_error(error)
                yield Outcome(file.name, file.path, "failed", bad.what, bad.hint)


def _bring(host: Host, file: ProfileFile, dry_run: bool) -> Outcome:
    link = files.switched_off(host, file)
    if link is not None:
        return Outcome(
            file.name,
            file.path,
            "skipped",
            f"{link} {files.off_does(link)}.",
            f"To use it: rm {link}",
        )
    files.check_parts(host, file)
    kept = compiled.kept(host, file)
    if kept is None:
        how = compiled.TO_OUTPUT if dry_run else compiled.TO_OUTPUT_AND_CACHE
        policy = compiled.compile_file(host, file, how)
    else:
        policy = kept
    if is_loaded(host, file.name, policy.data):
        return Outcome(file.name, file.path, "unchanged")
    mode = kernel.mode_of(kernel.listing(host) or b"", file.name)
    if not dry_run:
        # compiling has written the parser's cache just now
        if policy.path and (kept is None or compiled.in_parsers_cache(host, file, policy.data)):
            load_compiled(host, file, policy.path)
        else:
            load(host, file)
    return Outcome(file.name, file.path, "loaded" if mode is None else "replaced")


def is_loaded(host: Host, name: str, policy: bytes) -> bool:
    """Whether the kernel holds just these bytes (of compiled.policy_of) for the profile.

    Of a file with several profiles the parser writes each one by itself when it compiled
    them, and all at once when it read them from its cache; the kernel keeps the hash of what
    was written at once (measured, kernels 6.1, 6.12 and 6.17). Both are the same text.
    """
    held = kernel.policy_hash(host, name)
    if held is None:
        return False
    algorithm, value = held
    return any(
        hashlib.new(algorithm, part).hexdigest() == value for part in (policy, *_split(policy))
    )


def _split(policy: bytes) -> list[bytes]:
    """The single profiles in a compiled policy."""
    begins = [found.start() for found in BEGIN_OF_PROFILE.finditer(policy)]
    return [policy[begin:end] for begin, end in itertools.pairwise([*begins, len(policy)])]


def load(host: Host, file: ProfileFile, *, timeout: float = files.PARSER_SECONDS) -> None:
    """Loads or replaces one profile, and looks whether the kernel has it. Raises PhoenixError.

    The cache is written, so that the next boot and systemctl reload apparmor have it, but not
    read: the parser takes a cache file that is newer than the profile for good, and dpkg gives
    files the time of their build. So plain apparmor_parser -r, or systemctl reload apparmor,
    loads the text of before the upgrade (tests/vm/test_hash.py).
    """
    _load(host, file, ("-r", "-T", "-W"), file.path, timeout)


def load_compiled(
    host: Host, file: ProfileFile, policy: str, *, timeout: float = files.PARSER_SECONDS
) -> None:
    """Loads a kept policy (its path), and looks whether the kernel has it. Raises PhoenixError."""
    _load(host, file, ("-B", "-r"), policy, timeout)


def _load(host: Host, file: ProfileFile, how: tuple[str, ...], path: str, timeout: float) -> None:
    files.check_parts(host, file)
    ran = host.run([*files.parser(host), *how, host.path(path)], timeout=timeout)
    if files.has_no_cache(ran.status, ran.err):
        # The next boot compiles it; a container that is to start does not wait for a disk.
        ran = host.run([*files.parser(host), "-r", "-K", host.path(path)], timeout=timeout)
    files.check_parser(file, ran.status, ran.err)
    if kernel.mode_of(kernel.listing(host) or b"", file.name) is None:
        raise PhoenixError(
            f"apparmor_parser loaded {path}, but the kernel has no profile {file.name}.",
            hint=f"Try it by hand: apparmor_parser -r -T {file.path}",
        )


def seconds_left(until: float) -> float:
    """Until a time of time.monotonic(), but never nothing: who comes late gets an honest try."""
    return max(1.0, until - time.monotonic())


def ensure_enforced(host: Host, name: str, until: float, late: Late = lambda _: None) -> bool:
    """Makes sure that the kernel enforces a profile; whether it had to be loaded here.

    until: time.monotonic() of the end of the start's patience. late: as of reload.
    Raises PhoenixError, with how to fix it, where a container under it would run under less
    than the profile says: then it must not start.
    """
    loads = False
    mode = _mode(host, name)
    if mode is None:
        # Many starts at once: the first one loads, the others find it loaded.
        with Lock(host, paths.LOADING_LOCK, wait=seconds_left(until) / 3) as lock:
            if not lock.held:
                late(lock.late())
            loads = _mode(host, name) is None
            if loads:
                _load_for_start(host, name, until)
        mode = _mode(host, name)
    _refuse_unless_enforcing(name, mode)
    return loads


def _mode(host: Host, name: str) -> str | None:
    loaded = kernel.listing(host)
    if loaded is None:
        raise PhoenixError(
            f"profile {name} cannot be enforced: this kernel runs without AppArmor.",
            hint="Boot it with apparmor=1 security=apparmor (and see that /sys/kernel/security "
            'is mounted), or assign the container "unconfined".',
        )
    overriding = kernel.overriding_mode(host)
    if overriding:
        raise PhoenixError(
            f"AppArmor as a whole is in {overriding} mode; profile {name} would not confine "
            "anything.",
            hint=f"To have it enforce: {kernel.TO_ENFORCE}. {kernel.OFF_COMMAND_LINE}",
        )
    return kernel.mode_of(loaded, name)


def _load_for_start(host: Host, name: str, until: float) -> None:
    file = files.find(host, name)
    if file is None:
        files.refuse_made(host, name)
        raise PhoenixError(
            f"profile {name} is neither in the kernel nor in a file in {paths.APPARMOR_D}.",
            hint="Correct the name in the JSON, or put the profile there. To list all: "
            "phoenix-apparmor status",
        )
    link = files.switched_off(host, file)
    if link is not None:
        raise PhoenixError(
            f"profile {name} is {files.off_by(link)} by {link}.",
            hint=f"To use it: rm {link} && phoenix-apparmor reload",
        )
    load(host, file, timeout=seconds_left(until))


def _refuse_unless_enforcing(name: str, mode: str | None) -> None:
    if mode not in kernel.ENFORCING:
        raise PhoenixError(
            f"profile {name} is in {mode} mode in the kernel; it would not confine anything.",
            hint=f'Remove "complain" from the flags in {paths.APPARMOR_D}/{name} '
            f"(or rm {paths.APPARMOR_D}/force-complain/{name}), then: phoenix-apparmor reload",
        )
