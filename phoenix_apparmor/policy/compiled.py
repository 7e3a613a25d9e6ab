"""Compiled policies: what apparmor_parser makes of a profile's file, and what is kept of it.

One of our profiles takes the parser up to some seconds, and status, doctor and the metrics ask each
time whether the kernel runs what the file says. So a policy is kept in /var/cache/phoenix-apparmor,
by all that goes into it: the text with everything that it includes, the parser, the kernel. (The
parser's own cache goes by times, and dpkg gives files those of their build.)
"""

import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from typing import NamedTuple

from phoenix_apparmor import paths
from phoenix_apparmor.errors import PhoenixError, from_os_error
from phoenix_apparmor.host import Host
from phoenix_apparmor.policy import files, policytext
from phoenix_apparmor.policy.files import ProfileFile

# Neither the kernel nor the parser's cache is touched; the policy goes to standard output.
TO_OUTPUT = "-QTKS"
# The same, and it is written into the parser's cache: for apparmor.service at the next boot.
TO_OUTPUT_AND_CACHE = "-QTWS"
_HEX_DIGITS = 32
# The word by itself, not as a part of a path.
_SAYS_INCLUDE = re.compile(r"(?<![\w/.-])include(?![\w/.-])")
_ABI = re.compile(r'^[ \t]*abi[ \t]+(?:<([^>\n]+)>|"?([^"\s,]+)"?)[ \t]*,', re.MULTILINE)


class Policy(NamedTuple):
    """A binary policy, just as it would be loaded, and the path where it is kept; "": nowhere."""

    data: bytes
    path: str = ""


class TooLargeError(PhoenixError):
    """Who only looks does not have the parser read that much: it takes eight times the memory."""


def policy_of(host: Host, file: ProfileFile) -> bytes:
    """The binary policy of a file, kept or compiled, for who only looks. Raises PhoenixError."""
    check_size(host, file)
    return (kept(host, file) or compile_file(host, file)).data


def check_size(host: Host, file: ProfileFile) -> None:
    """Raises TooLargeError where a file with all that it includes is larger than any profile."""
    left = files.BIGGEST_FILE

    def read(name: str) -> str | None:
        nonlocal left
        try:
            text = included(host, name, left)
        except TooLargeError:
            raise
        except PhoenixError:
            return None  # that is for the parser to say
        left -= len(text or "")
        return text

    for _ in policytext.expand(file.text.decode("utf-8", "surrogateescape"), file.path, read):
        pass


def compile_file(
    host: Host, file: ProfileFile, how: str = TO_OUTPUT, timeout: float = files.PARSER_SECONDS
) -> Policy:
    """What the parser makes of a file now, kept where that is possible. Raises PhoenixError.

    For anyone but root, or on a full disk, it is compiled anew each time.
    """
    key = _key(host, file)
    ran = host.run([*files.parser(host), how, host.path(file.path)], timeout=timeout)
    if files.has_no_cache(ran.status, ran.err):
        ran = host.run([*files.parser(host), TO_OUTPUT, host.path(file.path)], timeout=timeout)
    files.check_parser(file, ran.status, ran.err)
    # what was edited meanwhile may be in it or not
    if key is None or key != _key(host, file):
        return Policy(ran.out)
    return Policy(ran.out, _try_to_keep(host, file, key, ran.out))


def compile_text(host: Host, file: ProfileFile, *, keep: bool) -> Policy:
    """What the parser makes of file.text, which need not be at its path yet. Raises PhoenixError.

    keep: for when it will be there; what is kept of the profile until then gives way to it.
    """
    policy = kept(host, file, file.text)
    if policy is not None:
        return policy
    features = _features(host)
    key = _key(host, file, file.text) if keep and not features else None
    ran = host.run(
        [*files.parser(host), *features, TO_OUTPUT, "/dev/stdin"],
        timeout=files.PARSER_SECONDS,
        stdin=file.text,
    )
    files.check_parser(file, ran.status, ran.err)
    if key is None or key != _key(host, file, file.text):
        return Policy(ran.out)
    return Policy(ran.out, _try_to_keep(host, file, key, ran.out))


def _features(host: Host) -> list[str]:
    """What the parser is told of the kernel where none says what it can do; else nothing.

    It leaves out classes of rules that it does not know the kernel to have, wrong ones among them:
    an admin's own machine would say that they are right. The ABI has all that our profiles use.
    """
    abi = f"{paths.APPARMOR_D}/abi/3.0"
    if host.exists(f"{paths.KERNEL}/features") or not host.exists(abi):
        return []
    return ["--kernel-features", host.path(abi)]


def compiles(host: Host, file: ProfileFile) -> bool:
    """Whether a file compiles; without a parser nobody can say that it does not."""
    try:
        policy_of(host, file)
    except TooLargeError:
        return True
    except PhoenixError:
        return not host.has_program("apparmor_parser")
    return True


def kept(host: Host, file: ProfileFile, text: bytes | None = None) -> Policy | None:
    """The policy of a file as it is now, if it is kept: whole, and put there by root alone.

    text: what will be in the file, instead of what is.
    """
    key = _key(host, file, text)
    if key is None:
        return None
    folder = f"{paths.COMPILED}/{file.name}"
    try:
        for leaf in host.names(folder):
            path = f"{folder}/{leaf}"
            if leaf.startswith(f"{key}.") and not host.distrust(path):
                policy = host.read(path)
                # A full disk or a crash may have cut it.
                if leaf == _leaf(key, policy):
                    return Policy(policy, path)
    except OSError:
        return None
    return None


def in_parsers_cache(host: Host, file: ProfileFile, policy: bytes) -> bool:
    """Whether the parser's cache has these bytes for a file, so that the next boot loads them.

    (One that is older than the file, the parser takes for none: it compiles, to the same bytes.)
    """
    ran = host.run([*files.parser(host), "--print-cache-dir"], timeout=files.PARSER_SECONDS)
    folder = ran.out.decode("utf-8", "surrogateescape").strip()
    if ran.status or not folder.startswith("/"):
        return False
    try:
        return host.read_if_there(f"{folder}/{file.path.rpartition('/')[2]}") == policy
    except OSError:
        return False


def _key(host: Host, file: ProfileFile, future: bytes | None = None) -> str | None:
    """A digest of all that goes into a file's policy; None where that cannot all be known."""
    texts: dict[str, str] = {}

    def read(name: str) -> str | None:
        text = included(host, name)
        texts[name] = "" if text is None else text
        return text

    try:
        # as it is now, which the parser will read
        text = (host.read(file.path) if future is None else future).decode(
            "utf-8", "surrogateescape"
        )
        pieces = [*policytext.expand(text, file.path, read)]
        for piece in pieces:
            named = policytext.includes(piece.text)
            # another way to include, or too deep: the parser may see more than we do
            if (
                len(_SAYS_INCLUDE.findall(piece.text)) != len(named)
                or not {name for name in named if name != file.path} <= texts.keys()
            ):
                return None
            for a, b in _ABI.findall(piece.text):
                name = a or b
                name = name if name.startswith("/") else f"{paths.APPARMOR_D}/{name}"
                texts[name] = (host.read_if_there(name) or b"").decode("utf-8", "surrogateescape")
        ingredients = repr((*_tools(host), file.path, text, sorted(texts.items())))
    except (PhoenixError, OSError):
        return None
    return hashlib.sha256(ingredients.encode()).hexdigest()[:_HEX_DIGITS]


def included(host: Host, name: str, most: int = files.BIGGEST_FILE) -> str | None:
    """Text of an included file, None if there is none; of a folder, the includes of what the
    parser takes of it.

    Raises PhoenixError where it cannot be read: without its denies a guard would hold less.
    """
    if not name.startswith("/"):
        name = f"{paths.APPARMOR_D}/{name}"
    try:
        if os.path.isdir(host.path(name)):
            listed = files.policy_files(host, name)
            return "".join(f'include "{path}"\n' for path in listed)
        text = host.read(name, most)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise from_os_error(error, f"cannot read {name}") from error
    if len(text) > most:
        # What is behind would be missing in a guard.
        raise TooLargeError(
            f"cannot read {name}: what a profile includes is larger than 16 MiB.",
            hint=f"See what it is: ls -l {name}",
        )
    return text.decode("utf-8", "surrogateescape")


def _tools(host: Host) -> Iterator[object]:
    program = shutil.which("apparmor_parser", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    seen = os.stat(program) if program else None
    yield (seen.st_size, seen.st_mtime_ns) if seen is not None else None
    yield os.uname()[2:4]
    for name in ("parser.conf", "features"):
        yield host.read_if_there(f"/etc/apparmor/{name}")


def _try_to_keep(host: Host, file: ProfileFile, key: str, policy: bytes) -> str:
    """As _keep; "" where it cannot be kept."""
    if not files.NAME_SAFE.fullmatch(file.name):
        return ""
    try:
        return _keep(host, file.name, key, policy)
    except (PhoenixError, OSError):
        return ""


def _keep(host: Host, name: str, key: str, policy: bytes) -> str:
    """Keeps a policy instead of older ones of that profile; its path. Raises PhoenixError."""
    folder = f"{paths.COMPILED}/{name}"
    for own in (paths.COMPILED, folder):
        host.own_folder(own, 0o755)
    path = f"{folder}/{_leaf(key, policy)}"
    host.replace(path, policy, mode=0o600)
    for old in host.names(folder):
        if f"{folder}/{old}" != path:
            _remove(host.path(f"{folder}/{old}"))
    return path


def _leaf(key: str, policy: bytes) -> str:
    return f"{key}.{hashlib.sha256(policy).hexdigest()[:_HEX_DIGITS]}"


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path, ignore_errors=True)
        return
    try:
        os.unlink(path)
    except FileNotFoundError:
        return  # another one has kept a newer one
