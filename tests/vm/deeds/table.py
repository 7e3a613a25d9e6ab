"""What works where: what was measured for comparison, and the table for people made from it.

    /usr/bin/python3 -m tests.vm.deeds.table      writes debian/doc/deeds.md

measured-SUITE.tsv: a line a deed, its name and a letter a column: w works, f fails, . absent.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.build import TREE

from . import by_design
from .columns import OTHERS, OURS
from .program import names

HERE = Path(__file__).parent
DOCUMENT = TREE / "debian/doc/deeds.md"
RELEASE = {"trixie": "13", "bookworm": "12"}
SUITES = tuple(RELEASE)
LETTERS = {"works": "w", "fails": "f", "absent": "."}
# Column key -> deed -> letter
Measured = Mapping[str, Mapping[str, str]]
KEYS = tuple(column.key for column in (*OURS, *OTHERS))


def path(suite: str) -> Path:
    return HERE / f"measured-{suite}.tsv"


def dump(measured: Measured) -> str:
    """The text of measured-SUITE.tsv; "-" for what was not done."""
    lines = ["\t".join(("deed", *KEYS))]
    lines += [
        "\t".join((name, *(measured.get(key, {}).get(name, "-") for key in KEYS)))
        for name in names()
    ]
    return "\n".join(lines) + "\n"


def load(suite: str) -> dict[str, dict[str, str]]:
    """What measured-SUITE.tsv says; empty where there is none."""
    found: dict[str, dict[str, str]] = {key: {} for key in KEYS}
    if not path(suite).exists():
        return found
    head, *lines = path(suite).read_text().splitlines()
    for line in lines:
        name, *letters = line.split("\t")
        for key, letter in zip(head.split("\t")[1:], letters, strict=True):
            found[key][name] = letter
    return found


def render(measured: Mapping[str, Measured]) -> str:
    """The document: suite -> what was measured on it."""
    return (
        "# What people run in containers, and under which profile it works\n\n"
        + summary(measured)
        + _reasons(measured)
        + _details(measured)
    )


def summary(measured: Mapping[str, Measured]) -> str:
    """How many deeds work, a line a column."""
    text = (
        f"Of {len(names())} things that people run in a container, each judged by its effect, how\n"
        "many work, and how many do not. (What a kernel, a release or a container does not\n"
        "offer, and what was not tried yet, is in neither number.)\n\n"
        f"| under | {' | '.join(f'Debian {RELEASE[suite]}' for suite in measured)} |\n"
        f"|---{'|---' * len(measured)}|\n"
    )
    for column in (*OURS, *OTHERS):
        cells = []
        for suite in measured:
            letters = [*measured[suite].get(column.key, {}).values()]
            tried = letters.count("w") + letters.count("f")
            cells.append(f"{letters.count('w')}, {letters.count('f')}" if tried else "not measured")
        if set(cells) == {"not measured"}:
            continue
        title = f"**{column.title}**" if column in OURS else column.title
        text += f"| {title} | {' | '.join(cells)} |\n"
    return text + "\n"


def _reasons(measured: Mapping[str, Measured]) -> str:
    text = "## What does not work under our profiles, and why\n\n"
    text += (
        "(u base: an unprivileged container under lxc-nvidia-gpu-base; p: a privileged one.)\n\n"
    )
    text += "| what | where | why |\n|---|---|---|\n"
    for reason in by_design.KNOWN:
        where = {"": "everywhere", "p-": "privileged", "u-": "unprivileged"}
        place = where.get(reason.columns, reason.columns.replace("-", " "))
        for line in _lines(reason.deeds):
            text += f"| {line} | {place} | {reason.why} |\n"
    for column in OURS:
        for line in _lines(_unexplained(measured, column.key)):
            place = column.key.replace("-", " ")
            text += f"| {line} | {place} | not known yet: generated has it working |\n"
    return text + "\n"


def _unexplained(measured: Mapping[str, Measured], key: str) -> list[str]:
    """What fails in a column of ours, works under generated, and is not there by design."""
    known = by_design.reasons(key)
    pairs = [
        (found.get(key, {}), found.get(f"{key[0]}-generated", {})) for found in measured.values()
    ]
    return [
        name
        for name in names()
        if name not in known
        and any(ours.get(name) == "f" and theirs.get(name) == "w" for ours, theirs in pairs)
    ]


def _details(measured: Mapping[str, Measured]) -> str:
    """Every deed; those with the same outcome everywhere share a line."""
    groups: dict[tuple[str, ...], list[str]] = {}
    untried = {"-"}
    keys = [
        key
        for key in KEYS
        if any({*found.get(key, {}).values()} - untried for found in measured.values())
    ]
    for name in names():
        letters = {
            key: [found.get(key, {}).get(name, "-") for found in measured.values()] for key in keys
        }
        if any({*some} - untried for some in letters.values()):
            groups.setdefault(tuple(map(_cell, letters.values())), []).append(name)
    heads = " | ".join(key.replace("-", " ") for key in keys)
    text = (
        "## Each of them\n\n"
        "x: works. no: does not (no12, no13: only on that Debian). Empty: not offered, or not\n"
        "tried. u: unprivileged container, p: privileged; generated has nesting=1. Each is a\n"
        "function of that name in `tests/vm/deeds/in`; `tests/vm/test_deeds.py` runs them.\n\n"
        f"| | {heads} |\n|---{'|---' * len(keys)}|\n"
    )
    for cells, some in groups.items():
        for line in _lines(some):
            text += f"| {line} | {' | '.join(cells)} |\n"
    return text


def _lines(deeds: Sequence[str]) -> list[str]:
    """Their names in lines of a length that a person, and lintian, can take."""
    wrapped = textwrap.wrap(", ".join(deeds), 300, break_on_hyphens=False)
    return [line.rstrip(",") for line in wrapped]


def _cell(letters: list[str]) -> str:
    """One cell from the letters of the suites."""
    failed = [RELEASE[s] for s, letter in zip(SUITES, letters, strict=False) if letter == "f"]
    if failed:
        seen = [letter for letter in letters if letter in "wf"]
        return "no" if len(failed) == len(seen) else f"no{failed[0]}"
    return "x" if "w" in letters else ""


def main() -> None:
    """Writes debian/doc/deeds.md, which the package has."""
    DOCUMENT.write_text(render({suite: load(suite) for suite in SUITES if path(suite).exists()}))


if __name__ == "__main__":
    main()
