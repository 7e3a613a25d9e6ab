"""Writes the chains of the profiles: profiles/source -> profiles/abstractions/phoenix.

    /usr/bin/python3 profiles/chains.py

AppArmor's patterns can exclude one character, not a word. "All but pro…" is so a chain: a name
that does not begin with p, or one that goes on after p with anything but r, or … Nobody reads
these well, so the files of profiles/source, which are the ones to edit, say it in words:

    deny /proc/<all but [0-9]** pressure/**> wklx,

What follows "all but" are names, as they go on where the pattern stands: NAME is just that name,
NAME** all that begins with it. [0-9] is one of these characters. The empty name is never meant.

A line that grows longer than MOST characters becomes several rules, each with a part of the chain.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCE = HERE / "source"
TARGET = HERE / "abstractions/phoenix"
# lintian wants no line of over 512 characters. (By where they are split AppArmor 4.1 makes one
# policy of them or another: tests/bench/profiles.py.)
MOST = 490
CHAIN = re.compile(r"<all but ([^<>]+)>")
TOKEN = re.compile(r"\[[^\]]+\]|.")
Tree = dict[str, "Tree"]
HEAD = """\
# Chains, such as {[^p],p[^r],pr[^o]}** or {[^p]**,p{,[^r]**,r{,[^o]**}}} for all but pro…, are
# written by profiles/chains.py of the source package.
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
    before, after = line[: found.start()], line[found.end() :]
    room = MOST - len(before) - len(after)
    words = found[1].split()
    if fields and re.search(r"( -> |pivot_root )/[^ ]*$", before):
        parts = all_but_places(words, room)
    else:
        parts = all_but(words, fields=fields, types=before.endswith("fstype="))
    while parts:
        taken, size = 1, len(parts[0]) + 1  # (one that is longer is a line of its own)
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


def all_but(names: list[str], *, fields: bool, types: bool = False) -> list[str]:
    """The alternatives of a pattern of everything but these names, without the empty one."""
    zero = "\\000" if fields else ""
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
        # A folder ends at its slash, a type anywhere. (A file that is called as a name begins, /p,
        # is nothing that anybody binds or writes, and costs the parser of 3.0 much time.)
        ends = word.endswith("/") or (types and bool(word))
        found += [word] if ends and word not in exact else []
        found.append(f"{word}[^{''.join(sorted(following[word]))}{zero}]**")
    return found


def all_but_places(names: list[str], room: int) -> list[str]:
    """The same, where something is mounted: what begins alike is in one pair of braces.

    Here a name may end anywhere: if /p were left out, it would be a place of its own in the policy,
    with all that can be mounted there. In braces within braces it is compiled in half the time.
    """
    tree: Tree = {}
    for name in names:
        node = tree
        for token in TOKEN.findall(name.removesuffix("**")):
            node = node.setdefault(token, {})
        node["**" if name.endswith("**") else ""] = {}
    return list(_places(tree, "", room))


def _places(node: Tree, before: str, room: int) -> Iterator[str]:
    following = sorted(token for token in node if token not in ("", "**"))
    others = "".join(token.strip("[]") for token in following)
    yield f"{before}[^{others}\\000]**"
    for token in following:
        child, word = node[token], before + token
        if "**" in child:
            continue
        end = [] if "" in child else [""]
        whole = f"{word}{_alternatives([*end, *_places(child, '', sys.maxsize)])}"
        if len(whole) <= room:
            yield whole
        else:
            yield from (word + part for part in end)
            yield from _places(child, word, room)


if __name__ == "__main__":
    sys.exit(main())
