"""Profile files in /etc/apparmor.d: which file holds a profile, what it says; the parser."""

import re
import shlex
import stat
from collections.abc import Collection
from typing import NamedTuple

from phoenix_apparmor import paths
from phoenix_apparmor.errors import PhoenixError, from_os_error, one_line
from phoenix_apparmor.host import Host
from phoenix_apparmor.reader import BIGGEST_PROFILE

# A compile is 0.3 s of a processor, of which a host that starts fifty containers leaves little.
PARSER_SECONDS = 600
# What apparmor_parser skips in a folder (libapparmor, aa_is_blacklisted).
SKIPPED_ENDINGS = (".dpkg-new", ".dpkg-old", ".dpkg-dist", ".dpkg-bak", ".dpkg-remove", ".pacsave",
                   ".pacnew", ".rpmnew", ".rpmsave", ".orig", ".rej", "~")  # fmt: skip


# Flags with which the kernel has a profile in a mode that refuses nothing.
WEAK_FLAGS = frozenset(("complain", "unconfined", "prompt"))
RELOAD = "phoenix-apparmor reload"
BIGGEST_FILE = BIGGEST_PROFILE
# Characters of the parser's messages that are passed on: journald takes no more than some 200 KB.
LONGEST_SAID = 2000
# The other folder with profiles, which /etc/apparmor.d/lxc-containers includes (package lxc).
LXC_FOLDER = paths.APPARMOR_D + "/lxc"
LXC_CONTAINERS = paths.APPARMOR_D + "/lxc-containers"
# A profile's name that can be a file's and a variant's.
NAME_SAFE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")
DECLARATION = re.compile(rb'profile[ \t]+(?:"([^"]+)"|([^"\s({]+))(?=[\s({]|$)')


class ProfileFile(NamedTuple):
    """A file in /etc/apparmor.d and a profile that it holds."""

    name: str
    path: str
    text: bytes

    @property
    def wants_namespace(self) -> bool:
        """Whether it asks for a policy namespace for each of its containers."""
        return paths.asks_for(self.text, paths.NAMESPACE_MARKER)

    @property
    def seccomp(self) -> str:
        """The seccomp policy that it asks for for its privileged containers; "": none."""
        return paths.seccomp_policy(self.text)


def declared_names(text: bytes) -> list[str]:
    """Names of the top-level profiles in a file, as far as one sees without compiling."""
    names = []
    depth = 0
    for line in (line.strip() for line in text.split(b"\n")):
        if line.startswith(b"#"):
            continue
        found = DECLARATION.match(line) if depth == 0 else None
        if found:
            names.append((found[1] or found[2]).decode("utf-8", "replace"))
        depth = max(0, depth + line.count(b"{") - line.count(b"}"))
    return names


def holds(text: bytes, name: str) -> bool:
    """Whether a file holds a profile, however it is indented.

    Not only where declared_names sees one: a brace in an odd place must not hide it.
    """
    named = name.encode()
    return named in text and any(
        found and named in (found[1], found[2])
        for found in (DECLARATION.match(line.strip()) for line in text.split(b"\n"))
    )


def policy_files(host: Host, folder: str = paths.APPARMOR_D) -> list[str]:
    """Paths of the files that apparmor_parser would read in the folder itself."""
    return [
        f"{folder}/{name}"
        for name in host.names(folder)
        if not name.startswith(".") and not name.endswith(SKIPPED_ENDINGS)
    ]


def find(host: Host, name: str) -> ProfileFile | None:
    """The file that holds a profile: /etc/apparmor.d/NAME, else any other file there.

    Raises PhoenixError where there is a file that cannot be read and may hold it: what it asks
    for is then unknown, which is not the same as nothing.
    """
    first = f"{paths.APPARMOR_D}/{name}"
    unread: PhoenixError | None = None
    for path in (first, *(path for path in policy_files(host) if path != first)):
        try:
            text = read(host, path)
        except PhoenixError as error:
            unread = unread or error
            continue
        if text is not None and holds(text, name):
            return ProfileFile(name, path, text)
    for path in policy_files(host, LXC_FOLDER):
        text = read(host, path)
        if text is not None and holds(text, name):
            return ProfileFile(name, LXC_CONTAINERS, text)
    if unread is not None:
        raise unread
    return None


def read(host: Host, path: str) -> bytes | None:
    """The text of a policy file; None if there is none, as a folder or a FIFO is none.

    Raises PhoenixError where it cannot be read.
    """
    try:
        seen = host.stat(path)
        if seen is None or not stat.S_ISREG(seen.st_mode):
            return None
        text = host.read(path, BIGGEST_FILE)
    except OSError as error:
        raise from_os_error(error, f"cannot read {path}") from error
    if len(text) > BIGGEST_FILE:
        raise PhoenixError(
            f"cannot read {path}: it is larger than 16 MiB.",
            hint=f"A profile is smaller; see what it is: ls -l {path}",
        )
    return text


def refuse_made(host: Host, name: str) -> None:
    """Raises PhoenixError where that profile was made for a container: it goes with that."""
    from phoenix_apparmor import trial  # it asks here

    instead = trial.assignable(host, name)
    if instead:
        raise PhoenixError(f"profile {name} {trial.MADE}.", hint=f'Assign "{instead}".')


def asked(host: Host, name: str) -> ProfileFile:
    """The file of a loaded profile, which says what else its containers need.

    Raises PhoenixError where it is gone or cannot be read.
    """
    file = find(host, name)
    if file is None:
        refuse_made(host, name)
        raise PhoenixError(
            f"profile {name} is loaded, but no file in {paths.APPARMOR_D} holds it, so what "
            "else it requires is unknown.",
            hint=f"Put {paths.APPARMOR_D}/{name} back (one of this package's: apt install "
            "--reinstall -o Dpkg::Options::=--force-confmiss phoenix-apparmor).",
        )
    return file


def ours(host: Host, assigned: frozenset[str] = frozenset()) -> list[ProfileFile]:
    """The profiles that this package looks after, by name.

    Files named lxc-* in /etc/apparmor.d itself that use our abstractions (what we ship, and
    a site's own), and every profile that a container is assigned.
    """
    result = {}
    for path in policy_files(host):
        if not path.rpartition("/")[2].startswith("lxc-"):
            continue
        try:
            text = read(host, path)
        except PhoenixError:
            continue
        if text is None:
            continue
        for name in declared_names(text):
            if b"<abstractions/phoenix/" in text or name in assigned:
                result[name] = ProfileFile(name, path, text)
    for name in assigned - result.keys():
        try:
            other = find(host, name)
        except PhoenixError:
            continue
        if other is not None:
            result[name] = other
    return [result[name] for name in sorted(result)]


def reload_command(name: str, assigned: Collection[str]) -> str:
    """The shell line that loads a profile whose file changed.

    assigned: profiles that the JSON assigns: without names, only these and ours are loaded.
    """
    if name in paths.SHIPPED or name in assigned:
        return RELOAD
    return f"{RELOAD} {shlex.quote(name)}"


def switched_off(host: Host, file: ProfileFile) -> str | None:
    """The link that keeps the parser from enforcing a profile, None if there is none.

    apparmor_parser looks for disable/FILE and force-complain/FILE beside the profiles.
    """
    base = file.path.rpartition("/")[2]
    for folder in ("disable", "force-complain"):
        link = f"{paths.APPARMOR_D}/{folder}/{base}"
        if host.exists(link):
            return link
    return None


def off_by(link: str) -> str:
    """What such a link has done to a profile: "profile X is …"."""
    return "put into complain mode" if "/force-complain/" in link else "switched off"


def off_does(link: str) -> str:
    """The same of the link: "LINK … ."."""
    return "puts it into complain mode" if "/force-complain/" in link else "switches it off"


def parser(host: Host) -> list[str]:
    """apparmor_parser for this host's tree."""
    if not host.has_program("apparmor_parser"):
        raise PhoenixError("apparmor_parser is missing.", hint="Install it: apt install apparmor")
    return ["apparmor_parser", *(["--base", host.path(paths.APPARMOR_D)] if host.root else [])]


def has_no_cache(status: int, messages: str) -> bool:
    """Whether the parser ended, having done nothing, as it cannot write its cache (a full disk)."""
    return status > 0 and "Failed setting up policy cache" in messages


def check_parts(host: Host, file: ProfileFile) -> None:
    """Raises PhoenixError where a file of ours that it includes is empty: that compiles too.

    Then what it denies, or allows, is not denied, or allowed (a full disk, a cut copy).
    """
    for path in paths.own_parts(file.text):
        if host.is_empty(path):
            raise PhoenixError(
                f"{path}, a part of profile {file.name}, is empty.",
                hint=f"Bring it back: rm -f {path}; apt install --reinstall -o "
                "Dpkg::Options::=--force-confmiss phoenix-apparmor && phoenix-apparmor reload",
            )


def check_parser(file: ProfileFile, status: int, messages: str) -> None:
    """Raises PhoenixError where the parser failed, which it can also do with exit status 0."""
    lines = [line.strip() for line in messages.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    if status == 0 and not errors:
        return
    if status < 0:
        raise PhoenixError(
            f"apparmor_parser was killed by signal {-status} while compiling profile {file.name}.",
            hint="Out of memory? See: journalctl -k -p err",
        )
    said = one_line(" ".join(errors or lines or [f"exit status {status}"])[:LONGEST_SAID])
    own = f"{paths.APPARMOR_D}/local/{file.path.rpartition('/')[2]}"
    hint = f"Fix the file that it names, then: {RELOAD} (rules of your own are in {own})."
    if file.path.startswith(f"{paths.VARIANTS}/"):
        said = said.replace(" for /dev/stdin in /dev/stdin", "")
        hint = "A wrong one of the container's own rules is named by: phoenix-apparmor validate"
    raise PhoenixError(f"profile {file.name} does not compile: {said}", hint=hint)
