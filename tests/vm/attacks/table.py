"""What was measured: a file a suite, and the tables for people made from them.

    /usr/bin/python3 -m tests.vm.attacks.table      writes debian/doc/attacks.md, which the package
                                                    ships, and the README's summary

measured-SUITE.tsv: a line a row, its name and a letter a column: H harm, - stopped, . n/a,
? not measured yet on that suite. The first line says of which attacks and which kernel it is.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path

from tests.vm.harness import cache

from .columns import ALL, ALONE, ALONE_BASE, BARE, COLUMNS, TRIALS, Column
from .program import SETTINGS, SOURCES, row_names, without

HERE = Path(__file__).parent
TREE = HERE.parents[2]
README = TREE / "README.md"
MATRIX = TREE / "debian/doc/attacks.md"
# What tests.bench.chains printed: suite, column, steps tried, worked, states, kinds found.
SEARCHED = HERE / "searched.tsv"
MARK = "<!-- {} of what tests.vm.attacks.table writes -->\n"
COMMENT = "# of "
LETTERS = {"harm": "H", "stopped": "-", "n/a": "."}
# The kernels of Proxmox VE 9.1, and of Debian 13 and 12.
RELEASE = {"trixie-6.17": "6.17", "trixie": "6.12", "bookworm": "6.1"}
SUITES = tuple(RELEASE)

# Column key -> row -> H, - or .
Measured = Mapping[str, Mapping[str, str]]


def path(suite: str) -> Path:
    return HERE / f"measured-{suite}.tsv"


def of(kernel: str) -> str:
    """What a measurement depends on beside our package: the attacks, the columns, the kernel."""
    return f"{cache.digest(SOURCES, HERE / 'columns.py')} {kernel}"


def measured_of(suite: str) -> str:
    """The same, of all columns of measured-SUITE.tsv; "" where they are not of one."""
    first = path(suite).read_text().partition("\n")[0]
    return first.removeprefix(COMMENT) if first.startswith(COMMENT) else ""


def dump(measured: Measured, measured_of: str) -> str:
    """The text of measured-SUITE.tsv."""
    comment = f"{COMMENT}{measured_of}\n" if measured_of else ""
    head = comment + "row\t" + "\t".join(column.key for column in ALL)
    lines = [
        name + "\t" + "\t".join(measured[column.key][name] for column in ALL)
        for name in row_names()
    ]
    return "\n".join([head, *lines]) + "\n"


def load(suite: str) -> dict[str, dict[str, str]]:
    """What measured-SUITE.tsv says; ? for what it does not have."""
    text = path(suite).read_text().splitlines()
    head, *lines = (line for line in text if not line.startswith(COMMENT))
    keys = head.split("\t")[1:]
    names = row_names()
    found = {column.key: dict.fromkeys(names, "?") for column in ALL}
    for line in lines:
        name, *letters = line.split("\t")
        for key, letter in zip(keys, letters, strict=True):
            found[key][name] = letter
    return found


def render(measured: Mapping[str, Measured]) -> str:
    """The document of all tricks; measured: suite -> what was measured there."""
    return "# What root inside a container can do to the host\n\n" + (
        summary(measured, alone=True) + _searched() + _details(measured)
    )


def _searched() -> str:
    """What searches for chains found: SEARCHED has a line for each."""
    text = (
        "## Searched for chains\n\n"
        "A program in the container composes mounts of each kind at each place, binds, moves,\n"
        "remounts, umounts, renames, other roots, other namespaces and detached mounts up to five\n"
        "deep, and asks after each step whether a file of the host's kernel can be written, a\n"
        "read-only share writable, a file system of the host changed or a process of the host\n"
        "visible (`python3 -m tests.bench.chains`). Found: ways that it prints, of each file the\n"
        "shortest.\n\n"
        "| Linux | container | steps tried | worked | states | found |\n"
        "|---|---|---|---|---|---|\n"
    )
    for line in SEARCHED.read_text().splitlines():
        suite, column, tried, worked, states, kinds = line.split("\t")
        text += f"| {RELEASE[suite]} | {column.replace('-', ' ', 1)} | {int(tried):,} | "
        text += f"{int(worked):,} | {int(states):,} | {kinds} |\n"
    return text + "\n"


def _with_settings() -> list[str]:
    """The rows that are tried with the host's settings as Debian has them."""
    off = {without(name) for name in SETTINGS}
    return [name for name in row_names() if name not in off]


def _count(measured: Measured, column: Column) -> str:
    letters = [measured[column.key][name] for name in _with_settings()]
    return "?" if set(letters) == {"?"} else str(sum(letter == "H" for letter in letters))


def _counts(measured: Mapping[str, Measured], column: Column) -> str:
    return ", ".join(_count(measured[suite], column) for suite in SUITES)


def summary(measured: Mapping[str, Measured], *, alone: bool = False) -> str:
    """How many attacks succeeded, one line per profile.

    alone: also LXC's default, and our profiles without the seccomp policy.
    """
    text = (
        f"How many of {len(_with_settings())} attacks by root inside a container harmed the host:"
        "\n\n"
        f"| Profile (Linux {', '.join(RELEASE.values())}) | privileged | unprivileged |\n"
        "|---|---|---|\n"
    )
    half = len(COLUMNS) // 2
    for pair in zip(COLUMNS[:half], COLUMNS[half:], strict=True):
        if pair[0].key.endswith("default") and not alone:  # nobody who reads the README has it
            continue
        title = f"**{pair[0].title}**" if pair[0].ours else pair[0].title
        text += f"| {title} | {' | '.join(_counts(measured, column) for column in pair)} |\n"
    counts = " | ".join(_counts(measured, column) for column in TRIALS)
    if counts.strip("?, |"):  # once they are measured somewhere
        text += f"| {TRIALS[0].title} | {counts} |\n"
    for column in (*((ALONE_BASE, ALONE) if alone else ()), BARE):
        text += f"| {column.title} | {_counts(measured, column)} | |\n"
    unknown = [sum(x == "?" for x in measured[suite][BARE.key].values()) for suite in SUITES]
    if any(unknown):
        text += f"\nNot measured yet: {', '.join(map(str, unknown))}.\n"
    return text + "\n"


def _details(measured: Mapping[str, Measured]) -> str:
    """Every trick; those with the same outcome everywhere share a line."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for name in row_names():
        cells = tuple(_cell([measured[suite][column.key][name] for suite in SUITES])
                      for column in ALL)  # fmt: skip
        groups.setdefault(cells, []).append(name)
    text = (
        "## Each attack under each profile\n\n"
        "H: harm, seen by its effect, and undone (H6.1: only on that Linux). -: stopped.\n"
        "Empty: not offered by the kernel or the container. (setting): tried with that setting of\n"
        "the host, the others with Debian's. The attacks are in\n"
        "`tests/vm/attacks/src/rows.c`; p: privileged container, u: unprivileged; our profiles\n"
        "(base, docker), LXC's default, Proxmox' generated (and with nesting=1), unconfined;\n"
        "bare: unconfined, LXC's other limits off too; alone: docker (alone-base: base)\n"
        "without its seccomp policy; trial: docker in a trial.\n\n"
    )
    heads = [f"{column.key[0]} {column.key.partition('-')[2]}" for column in ALL]
    text += f"| | {' | '.join(heads)} |\n|---{'|---' * len(ALL)}|\n"
    for cells, names in groups.items():
        # Lines of a length that a person, and lintian, can take.
        for some in textwrap.wrap(", ".join(names), 300, break_on_hyphens=False):
            text += f"| {some.rstrip(',')} | {' | '.join(cells)} |\n"
    return text


def _cell(letters: list[str]) -> str:
    """One cell from the letters of SUITES."""
    harmed = [RELEASE[s] for s, letter in zip(SUITES, letters, strict=True) if letter == "H"]
    if harmed:
        known = [letter for letter in letters if letter != "?"]
        return f"H{'' if len(harmed) == len(known) else ', '.join(harmed)}"
    return "-" if "-" in letters else ""


def main() -> None:
    """Writes the document and puts the summary into the README."""
    measured = {suite: load(suite) for suite in SUITES}
    MATRIX.write_text(render(measured))
    begin, end = MARK.format("begin"), MARK.format("end")
    readme = README.read_text()
    before, _, rest = readme.partition(begin)
    after = rest.partition(end)[2]
    README.write_text(before + begin + summary(measured) + end + after)


if __name__ == "__main__":
    main()
