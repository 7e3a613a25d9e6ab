"""What works where: what was measured for comparison, and the table for people made from it.

    /usr/bin/python3 -m tests.vm.deeds.table      prints the table

measured-SUITE.tsv: a line a deed, its name and a letter a column: w works, f fails, . absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from .columns import OTHERS, OURS
from .program import names

HERE = Path(__file__).parent
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


def counts(measured: Measured) -> str:
    """A line a column: how many deeds work, and which do not."""
    text = "| under | work | do not |\n|---|---|---|\n"
    for key in KEYS:
        letters = measured.get(key, {})
        failed = [name for name, letter in letters.items() if letter == "f"]
        works = sum(letter == "w" for letter in letters.values())
        text += f"| {key} | {works} | {', '.join(failed)} |\n"
    return text


def main() -> None:
    for file in sorted(HERE.glob("measured-*.tsv")):
        suite = file.stem.partition("-")[2]
        print(f"{suite}:\n\n{counts(load(suite))}")


if __name__ == "__main__":
    main()
