"""AppArmor's path patterns and the deny rules of a profile's text. Pure.

A pattern is translated into a regular expression (apparmor.d(5), "Globbing (AARE)"), and
rules are read as far as ours go: ``deny PATH PERMS,`` and ``deny mount …,``.
"""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

_RULE = re.compile(r"^[ \t]*(audit[ \t]+)?deny[ \t]+(.*?),[ \t]*$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"(^|[ \t])#(?!include).*$", re.MULTILINE)
_INCLUDE = re.compile(
    r'^[ \t]*#?include[ \t]+(?:if[ \t]+exists[ \t]+)?(?:<([^>\n]+)>|"([^"\n]+)")', re.MULTILINE
)
_PERMS = re.compile(r"[rwaxmklidcpuPUCI]+\Z")
_MOUNT = re.compile(
    r"mount\b(?:\s+fstype=(?P<fstype>\S+))?(?:\s+options=\((?P<options>[^)]*)\))?"
    r"(?:\s+(?!->)(?P<source>\S+))?(?:\s+->\s+(?P<target>\S+))?\s*\Z"
)
DEEPEST = 8


class Deny(NamedTuple):
    """A deny rule: its text, where it is, whether the kernel logs what it denies."""

    text: str
    path: str
    audited: bool


def matches(pattern: str, name: str) -> bool:
    """Whether an AARE pattern matches a whole name; False for one that cannot be read."""
    try:
        return re.compile(regex(pattern), re.DOTALL).fullmatch(name) is not None
    except re.error:
        return False


def regex(pattern: str) -> str:
    """The regular expression of an AARE pattern."""
    pattern = pattern.strip('"')
    out = []
    depth = at = 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "*":
            wide = pattern.startswith("*", at)
            at += wide
            # behind a slash, ** and * mean at least one character
            begins = at - 1 - wide > 0 and pattern[at - 2 - wide] == "/"
            ends = at == len(pattern) or pattern[at] == "/"
            count = "+" if begins and ends else "*"
            out.append(f".{count}" if wide else f"[^/]{count}")
        elif char == "?":
            out.append("[^/]")
        elif char == "[" and "]" in pattern[at:]:
            end = pattern.index("]", at)
            out.append("[" + pattern[at:end].replace("\\", "\\\\") + "]")
            at = end + 1
        elif char == "{":
            depth += 1
            out.append("(?:")
        elif char == "}" and depth:
            depth -= 1
            out.append(")")
        elif char == "," and depth:
            out.append("|")
        elif char == "\\" and at < len(pattern):
            out.append(re.escape(pattern[at]))
            at += 1
        else:
            out.append(re.escape(char))
    return "".join(out)


def expand(text: str, path: str, read: Callable[[str], str | None]) -> Iterator[tuple[str, str]]:
    """(path, text) of a profile file and of what it includes, each once.

    read gives the text of a file named as in an include (below /etc/apparmor.d), or None.
    """
    seen = {path}
    todo = [(path, text, 0)]
    while todo:
        path, text, depth = todo.pop(0)
        text = _COMMENT.sub("", text)
        yield path, text
        for angle, quoted in _INCLUDE.findall(text):
            name = f"/etc/apparmor.d/{angle}" if angle else quoted
            if name in seen or depth >= DEEPEST:
                continue
            seen.add(name)
            included = read(name)
            if included is not None:
                todo.append((name, included, depth + 1))


def deny_rules(files: Iterator[tuple[str, str]]) -> list[Deny]:
    """All deny rules of an expanded profile."""
    return [
        Deny(f"deny {' '.join(body.split())},", path, bool(audit))
        for path, text in files
        for audit, body in _RULE.findall(text)
    ]


def denies_file(rule: Deny, name: str, mask: str) -> bool:
    """Whether a rule denies one of the permissions (the kernel's mask: r, w, c, d, …)."""
    words = rule.text.removeprefix("deny ").removesuffix(",").split()
    words = [word for word in words if word not in ("file", "owner")]
    if len(words) != 2 or not any(_PERMS.match(word) for word in words):
        return False
    path, perms = words if _PERMS.match(words[1]) else reversed(words)
    # the parser's w covers what the kernel calls create and delete
    wanted = set(mask.replace("c", "w").replace("d", "w"))
    return bool(wanted & set(perms)) and matches(path, name)


def denies_mount(rule: Deny, fstype: str, flags: frozenset[str], source: str, target: str) -> bool:
    """Whether a mount rule denies this mount."""
    rule_words = _MOUNT.match(rule.text.removeprefix("deny ").removesuffix(","))
    if rule_words is None:
        return False
    options = rule_words["options"]
    # a rule's options must be just those of the mount
    if options and frozenset(re.split(r"[,\s]+", options.strip())) != flags:
        return False
    return all(
        pattern is None or matches(pattern, value)
        for pattern, value in (
            (rule_words["fstype"], fstype),
            (rule_words["source"], source),
            (rule_words["target"], target),
        )
    )
