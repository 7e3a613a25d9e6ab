"""Profile files in /etc/apparmor.d: which file holds a profile, what it says, how it compiles."""

import re
from typing import NamedTuple

from phoenix_apparmor import paths
from phoenix_apparmor.errors import PhoenixError, one_line
from phoenix_apparmor.host import Host

# A compile is 0.3 s of a processor, of which a host that starts fifty containers leaves little.
PARSER_SECONDS = 600
# What apparmor_parser skips in a folder (libapparmor, aa_is_blacklisted).
SKIPPED_ENDINGS = (".dpkg-new", ".dpkg-old", ".dpkg-dist", ".dpkg-bak", ".dpkg-remove", ".pacsave",
                   ".pacnew", ".rpmnew", ".rpmsave", ".orig", ".rej", "~")  # fmt: skip


class ProfileFile(NamedTuple):
    """A file in /etc/apparmor.d and a profile that it holds."""

    name: str
    path: str
    text: bytes

    @property
    def wants_namespace(self) -> bool:
        """Whether it asks for a policy namespace for each of its containers."""
        return _has_line(self.text, paths.NAMESPACE_MARKER)

    @property
    def wants_seccomp(self) -> bool:
        """Whether it asks for our seccomp policy for its privileged containers."""
        return _has_line(self.text, paths.SECCOMP_MARKER)


def _has_line(text: bytes, marker: bytes) -> bool:
    return text.startswith(marker) or b"\n" + marker in text


def declared_names(text: bytes) -> list[str]:
    """Names of the top-level profiles in a file, as far as one sees without compiling."""
    pattern = rb'^profile[ \t]+"?([^"\s({]+)"?[ \t({]'
    return [name.decode("utf-8", "replace") for name in re.findall(pattern, text, re.MULTILINE)]


def policy_files(host: Host, folder: str = paths.APPARMOR_D) -> list[str]:
    """Paths of the files that apparmor_parser would read in the folder itself."""
    return [
        f"{folder}/{name}"
        for name in host.names(folder)
        if not name.startswith(".") and not name.endswith(SKIPPED_ENDINGS)
    ]


def find(host: Host, name: str) -> ProfileFile | None:
    """The file that holds a profile: /etc/apparmor.d/NAME, else any other file there."""
    first = f"{paths.APPARMOR_D}/{name}"
    others = (path for path in policy_files(host) if path != first)
    for path in (first, *others):
        try:
            text = host.read(path, 1 << 20)
        except OSError:
            continue
        if name in declared_names(text):
            return ProfileFile(name, path, text)
    return None


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
            text = host.read(path, 1 << 20)
        except OSError:
            continue
        for name in declared_names(text):
            if b"<abstractions/phoenix/" in text or name in assigned:
                result[name] = ProfileFile(name, path, text)
    for name in assigned - result.keys():
        other = find(host, name)
        if other is not None:
            result[name] = other
    return [result[name] for name in sorted(result)]


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


def compile_policy(host: Host, file: ProfileFile) -> bytes:
    """The binary policy of a file, just as it would be loaded. Raises PhoenixError.

    Neither the kernel nor the cache is touched; 0.3 s for one of our profiles.
    """
    ran = host.run([*parser(host), "-QTKS", host.path(file.path)], timeout=PARSER_SECONDS)
    check_parser(file, ran.status, ran.err)
    return ran.out


def parser(host: Host) -> list[str]:
    """apparmor_parser for this host's tree."""
    if not host.has_program("apparmor_parser"):
        raise PhoenixError("apparmor_parser is missing.", hint="Install it: apt install apparmor")
    return ["apparmor_parser", *(["--base", host.path(paths.APPARMOR_D)] if host.root else [])]


def check_parser(file: ProfileFile, status: int, messages: str) -> None:
    """Raises PhoenixError where the parser failed, which it can also do with exit status 0."""
    lines = [line.strip() for line in messages.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    if status == 0 and not errors:
        return
    said = one_line(" ".join(errors or lines or [f"exit status {status}"]))
    raise PhoenixError(
        f"profile {file.name} does not compile: {said}",
        hint=f"Mend the file that it names, then: phoenix-apparmor reload "
        f"(rules of your own are in {paths.APPARMOR_D}/local/{file.name}).",
    )
