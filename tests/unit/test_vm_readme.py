"""tests/vm/README.md says on which suites each module in VMs runs."""

from __future__ import annotations

import importlib

from tests.build import TREE
from tests.vm.harness.suites import EMULATED

FOLDER = TREE / "tests/vm"
HEAD = "| tests | prove | takes |"


def shown() -> dict[str, set[str]]:
    """Module -> suites, from the table."""
    lines = (FOLDER / "README.md").read_text().splitlines()
    begin = next(n for n, line in enumerate(lines) if line.startswith(HEAD))
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[begin:]]
    end = next(n for n, cells in enumerate(table) if not cells)
    suites = [cell.strip("`") for cell in table[0][3:]]
    return {
        name: {suite for suite, mark in zip(suites, cells[3:], strict=True) if mark}
        for cells in table[2:end]
        for name in cells[0].split(", ")
    }


def test_each_module_runs_where_the_table_says() -> None:
    modules = {path.stem for path in FOLDER.glob("test_*.py")}
    wanted = {
        name.removeprefix("test_"): set(
            getattr(importlib.import_module(f"tests.vm.{name}"), "ONLY_SUITES", EMULATED)
        )
        for name in modules
    }
    assert shown() == wanted
