"""What was measured: a file a suite, and the README's table made from them.

    /usr/bin/python3 -m tests.vm.attacks.table      writes measured.md and the README's section

measured-SUITE.tsv: a line a row, its name and a letter a column: H harm, - stopped, . n/a.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.vm.harness.image import SUITES

from .columns import COLUMNS, Column
from .program import row_names

HERE = Path(__file__).parent
README = HERE.parents[2] / "README.md"
MARK = "<!-- {} of tests/vm/attacks/measured.md -->\n"
LETTERS = {"harm": "H", "stopped": "-", "n/a": "."}
RELEASE = {"trixie": "13", "bookworm": "12"}
# No profile stops these in a privileged container (see src/rows.c): shown, but not promised.
BEYOND = "beyond-"

# Column key -> row -> H, - or .
Measured = Mapping[str, Mapping[str, str]]


def path(suite: str) -> Path:
    return HERE / f"measured-{suite}.tsv"


def dump(measured: Measured) -> str:
    """The text of measured-SUITE.tsv."""
    head = "row\t" + "\t".join(column.key for column in COLUMNS)
    lines = [
        name + "\t" + "\t".join(measured[column.key][name] for column in COLUMNS)
        for name in row_names()
    ]
    return "\n".join([head, *lines]) + "\n"


def load(suite: str) -> dict[str, dict[str, str]]:
    """What measured-SUITE.tsv says."""
    head, *lines = path(suite).read_text().splitlines()
    keys = head.split("\t")[1:]
    found: dict[str, dict[str, str]] = {key: {} for key in keys}
    for line in lines:
        name, *letters = line.split("\t")
        for key, letter in zip(keys, letters, strict=True):
            found[key][name] = letter
    return found


def _cell(by_suite: Mapping[str, str]) -> str:
    harmed = [suite for suite, letter in by_suite.items() if letter == "H"]
    if len(harmed) == len(by_suite):
        return "**harm**"
    if harmed:
        return f"**harm** ({', '.join(RELEASE[suite] for suite in harmed)})"
    return "-" if "-" in by_suite.values() else ""


def _count(measured: Measured, column: Column, names: list[str]) -> int:
    return sum(measured[column.key][name] == "H" for name in names)


def render(measured: Mapping[str, Measured]) -> str:
    """The README's section; measured: suite -> what was measured there."""
    names = row_names()
    promised = [name for name in names if not name.startswith(BEYOND)]
    beyond = [name for name in names if name.startswith(BEYOND)]
    text = (
        f"Of {len(promised)} tricks of root inside a container, so many did harm to the host:\n\n"
    )
    text += "| Profile | privileged, Debian 13 | privileged, 12 | unprivileged, 13 | 12 |\n"
    text += "|---|---|---|---|---|\n"
    half = len(COLUMNS) // 2
    pairs = list(zip(COLUMNS[:half], COLUMNS[half:], strict=True))
    for pair in pairs:
        counts = [str(_count(measured[suite], column, promised)) for column in pair
                  for suite in SUITES]  # fmt: skip
        title = f"**{pair[0].title}**" if pair[0].ours else pair[0].title
        text += f"| {title} | {' | '.join(counts)} |\n"
    worst = max(_count(measured[s], c, beyond) for s in SUITES for c in COLUMNS[:2])
    text += (
        f"\n{len(beyond)} more are beyond any AppArmor profile of these releases, because the\n"
        "kernel asks AppArmor nothing about the system calls in question (`open_tree`, `fsmount`,\n"
        f"`bpf`) or gives it only a file name like any other: up to {worst} of them do harm from\n"
        "a *privileged* container under our profiles too, and from an unprivileged one none. They\n"
        "are the last rows of the table. **Make containers unprivileged.**\n\n"
    )
    text += "<details><summary>Each trick under each profile</summary>\n\n"
    text += (
        "**harm**: it worked, seen by its effect (12, 13: only on that Debian). -: stopped.\n"
        "Empty: the kernel or the container does not offer it.\n\n"
    )
    short = {"base": "base", "docker": "docker", "default": "LXC", "generated": "generated",
             "nesting": "nesting", "unconfined": "unconfined"}  # fmt: skip
    heads = [short[column.key.partition("-")[2]] for column in COLUMNS]
    text += "| | " + " | ".join(
        f"{'un' if c.unprivileged else ''}priv.: {h}" for c, h in zip(COLUMNS, heads, strict=True)
    )
    text += " |\n|---" + "|---" * len(COLUMNS) + "|\n"
    for name in names:
        cells = [
            _cell({suite: measured[suite][column.key][name] for suite in SUITES})
            for column in COLUMNS
        ]
        text += f"| {name} | {' | '.join(cells)} |\n"
    return text + "\n</details>\n"


def main() -> None:
    """Writes measured.md and puts it into the README."""
    text = render({suite: load(suite) for suite in SUITES})
    (HERE / "measured.md").write_text(text)
    begin, end = MARK.format("begin"), MARK.format("end")
    readme = README.read_text()
    before, _, rest = readme.partition(begin)
    after = rest.partition(end)[2]
    README.write_text(before + begin + text + end + after)


if __name__ == "__main__":
    main()
