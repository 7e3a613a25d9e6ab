"""Writes the chains of the profiles: profiles/source -> profiles/abstractions/phoenix.

    /usr/bin/python3 profiles/chains.py

AppArmor's patterns can exclude one character, not a word. "All but pro…" is so a chain: a name
that does not begin with p, or one that goes on after p with anything but r, or … Nobody reads
these well, so the files of profiles/source, which are the ones to edit, say it in words:

    deny /proc/<all but [0-9]** pressure/**> wklx,

What follows "all but" are names, as they go on where the pattern stands: NAME is just that name,
NAME** all that begins with it. [0-9] is one of these characters. The empty name is never meant.
"<all but the last of acpi bus>" is one component of a path other than these; the names that follow
"the folders" have no slash at their end, as it stands behind the pattern.

A line that grows longer than MOST characters becomes several rules, each with a part of the chain.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCE = HERE / "source"
TARGET = HERE / "abstractions/phoenix"
# lintian wants no line of over 512 characters.
MOST = 500
CHAIN = re.compile(r"<all but (the last of |the folders )?([^<>]+)>")
TOKEN = re.compile(r"\[[^\]]+\]|.")
HEAD = """\
# Chains, such as {[^ps],p[^r],pr[^o]}** for all but pro…, are written by profiles/chains.py of the
# source package.
#
"""


def main() -> int:
    """Writes all files anew; with --check says which are not as they would be."""
    wrong = [name for name, text in written().items() if (TARGET / name).read_text() != text]
    if "--check" in sys.argv[1:]:
        print("".join(f"{TARGET / name} is not what chains.py writes\n" for name in wrong), end="")
        return 1 if wrong else 0
    for name, text in written().items():
        (TARGET / name).write_text(text)
    return 0


def written() -> dict[str, str]:
    """Name -> text of each file that is made of one in profiles/source."""
    return {
        file.name: HEAD + "".join(_lines(file.read_text())) for file in sorted(SOURCE.iterdir())
    }


def _lines(text: str) -> Iterator[str]:
    for line in text.splitlines(keepends=True):
        yield from _rules(line) if not line.lstrip().startswith("#") else (line,)


def _rules(line: str) -> Iterator[str]:
    """The rules that a line means: one, or several where it would be too long."""
    found = CHAIN.search(line)
    if found is None:
        yield line
        return
    # What is no path of a file is matched with what follows it in one automaton, with a zero byte
    # between the two, which AppArmor's [^x] takes for a character as any other: the zero byte has
    # to be excluded. (With it in, a policy is twice as big.)
    fields = re.match(r"\s*(audit )?(deny )?(mount|pivot_root)\b", line) is not None
    parts = all_but(found[2].split(), fields=fields, kind=found[1] or "")
    before, after = line[: found.start()], line[found.end() :]
    room = MOST - len(before) - len(after)
    while parts:
        taken, size = 0, 0
        while taken < len(parts) and size + len(parts[taken]) + 1 <= room:
            size += len(parts[taken]) + 1
            taken += 1
        yield from _rules(f"{before}{_alternatives(parts[:taken])}{after}")
        parts = parts[taken:]


def _alternatives(parts: list[str]) -> str:
    # AppArmor wants at least two in a pair of braces.
    if len(parts) == 1:
        return parts[0]
    if all(part.endswith("**") for part in parts):
        return f"{{{','.join(part.removesuffix('**') for part in parts)}}}**"
    return f"{{{','.join(parts)}}}"


def all_but(names: list[str], *, fields: bool, kind: str = "") -> list[str]:
    """The alternatives of a pattern of everything but these names, without the empty one."""
    zero = "\\000" if fields else ""
    slash, rest = ("/", "*") if kind.startswith("the last") else ("", "**")
    following: dict[str, set[str]] = {"": set()}
    closed: set[str] = set()
    exact: set[str] = set()
    for name in names:
        word = name.removesuffix("**")
        tokens = TOKEN.findall(word)
        for number, token in enumerate(tokens):
            start = "".join(tokens[:number])
            following[start].add(token.strip("[]"))
            following.setdefault(start + token, set())
        (closed if name != word else exact).add(word)
    found = []
    for word in sorted(following):
        if any(word.startswith(end) for end in closed):
            continue
        others = f"[^{''.join(sorted(following[word]))}{slash}{zero}]{rest}"
        # Where a name may end: a component anywhere, a folder at its slash. (A file that is called
        # as a name begins, /p, is nothing that anybody mounts on, and costs the parser much time.)
        ends = word.endswith("/") if not kind else not word.endswith("/")
        found += [word] if word and ends and word not in exact else []
        found.append(f"{word}{others}")
    return found


if __name__ == "__main__":
    sys.exit(main())
