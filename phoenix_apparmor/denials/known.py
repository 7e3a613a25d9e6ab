"""The admin's list of denials that are known and harmless: by profile and rule."""

import re
from typing import NamedTuple

from phoenix_apparmor.denials.owner import Owner
from phoenix_apparmor.denials.quoting import quoted
from phoenix_apparmor.host import Host
from phoenix_apparmor.policy.aare import matches

FILE = "/etc/phoenix-apparmor/known-denials"

# A profile's name or pattern, in quotes where it has blanks; then the rule as denials prints it.
_LINE = re.compile(r'\s*("(?:[^"\\]|\\.)*"|\S+)\s+(\S.*?)\s*\Z')
_FILE_RULE = re.compile(r'"(/[^"]*)" ([a-z]+),\Z')
# A rule for one file, or for names of one length: without other patterns and escapes.
_ONE_FILE = re.compile(r'"(/[^"\\*\[\]{}]*)" ([a-z]+),\Z')
_PLAIN = re.compile(r"[^\s\"#\\*?\[\]{}]+\Z")


class Entry(NamedTuple):
    """A line: pattern of profiles, and the rule, or the words where there is no rule."""

    profile: str
    what: str


class Known:
    """What the file says; problems: lines that say nothing, and a file that cannot be read."""

    def __init__(self, host: Host) -> None:
        self.problems: list[str] = []
        self._entries: list[Entry] = []
        try:
            text = host.read_if_there(FILE) or b""
        except OSError as error:
            self.problems.append(f"{FILE}: {error.strerror}")
            return
        for number, line in enumerate(text.decode("utf-8", "surrogateescape").split("\n"), 1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            match = _LINE.match(line)
            if match is None:
                self.problems.append(f"{FILE}, line {number}: not a profile and a rule")
                continue
            self._entries.append(Entry(match[1], _same(match[2])))

    def has(self, owner: Owner, what: str) -> bool:
        """Whether that of that owner is known."""
        label, wanted = _label(owner), _same(what)
        return any(_takes(e.what, wanted) and matches(e.profile, label) for e in self._entries)

    @staticmethod
    def line(owner: Owner, what: str) -> str:
        """The line that says so."""
        label = _label(owner)
        return f"{label if _PLAIN.match(label) else quoted(label)} {_same(what)}"


def _takes(known: str, wanted: str) -> bool:
    """Whether a known rule is this one, or a pattern that takes its file."""
    if known == wanted:
        return True
    pattern, name = _FILE_RULE.match(known), _ONE_FILE.match(wanted)
    if pattern is None or name is None or pattern[2] != name[2]:
        return False
    return matches(pattern[1], name[1])


def _label(owner: Owner) -> str:
    """The refusing profile; one of a container's own policy namespace with that."""
    if owner.inside:
        return f":{owner.ctid}:{owner.inside}"
    return f"{owner.profile}//{owner.child}" if owner.child else owner.profile


def _same(what: str) -> str:
    return " ".join(what.split())
