"""People live in it: what they run in containers works under our profiles as under Proxmox' own.

Every deed is judged by its effect (tests/vm/deeds/in). They take long on an emulated machine, so
that they are done under User-Mode Linux, and emulated when they are asked for. PHOENIX_TEST_DEEDS:
some does each deed in one kind of our columns (as without it), all does all deeds in all of them,
compare does them under Proxmox' profiles too.
What was seen goes to a measured-SUITE.tsv in the cache, to keep in tests/vm/deeds.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping

import pytest

from tests.vm.booting import boot, destroy, make
from tests.vm.containers import assign, label
from tests.vm.deeds import by_design, table
from tests.vm.deeds.columns import OTHERS, OURS, Column
from tests.vm.deeds.program import Done, do, names, prepare, put
from tests.vm.deeds.roots import roots
from tests.vm.harness import cache
from tests.vm.harness.machine import Machine
from tests.vm.harness.prepared import installed
from tests.vm.harness.suites import STOCK, SUITES, USER_MODE

ASKED = os.environ.get("PHOENIX_TEST_DEEDS", "")
MODE = ASKED or "some"
ONLY_SUITES = (USER_MODE, *(STOCK if ASKED else ()))

Found = Mapping[str, Mapping[str, Done]]


def done_in(vm: Machine, column: Column) -> dict[str, Done]:
    """The deeds in a new container of the column."""
    began = time.monotonic()
    make(vm, column.ctid, vm.debian, unprivileged=column.unprivileged, more=column.lines)
    try:
        boot(vm, column.ctid)
        expected = column.assigned or ("unconfined" if column in OTHERS[2:] else "lxc-7")
        assert label(vm, column.ctid).startswith(expected)
        put(vm, column.ctid)
        found = do(vm, column.ctid, column.files if MODE == "some" else ())
    finally:
        destroy(vm, column.ctid)
    print(f"{vm.suite} {column.key}: {len(found)} deeds, {time.monotonic() - began:.0f} s")
    for name, done in found.items():
        print(f"{column.key}\t{name}\t{done.word}\t{done.milliseconds}\t{done.said}")
    return found


@pytest.fixture(scope="module")
def vm(suite: str) -> Iterator[Machine]:
    with Machine.resume(
        installed(suite), roots(SUITES[suite].debian, slow=MODE != "some")
    ) as machine:
        yield machine


@pytest.fixture(scope="module")
def found(vm: Machine) -> Found:
    prepare(vm)
    assign(vm, {column.ctid: column.assigned for column in OURS})
    columns = (*OURS, *OTHERS) if MODE == "compare" else OURS
    done = {column.key: done_in(vm, column) for column in columns}
    letters = {
        key: {name: table.LETTERS[deed.word] for name, deed in deeds.items()}
        for key, deeds in done.items()
    }
    (cache.folder() / table.path(vm.suite).name).write_text(
        table.dump({**table.load(vm.suite), **letters})
    )
    return done


@pytest.mark.parametrize("column", OURS, ids=[column.key for column in OURS])
def test_it_works_as_under_generated(vm: Machine, found: Found, column: Column) -> None:
    done = found[column.key]
    assert list(done) == names(column.files if MODE == "some" else ()), "a deed is missing"
    compared = table.load(vm.suite)[f"{column.key[0]}-generated"]
    reasons = by_design.reasons(column.key)
    lost = {
        name: deed.said
        for name, deed in done.items()
        if deed.word == "fails" and compared.get(name) != "f" and name not in reasons
    }
    assert lost == {}


def test_what_fails_by_design_does(found: Found) -> None:
    """The table of reasons has nothing that works in every column that it is for."""
    for name in {name for column in OURS for name in by_design.reasons(column.key)}:
        words = {
            found[column.key][name].word
            for column in OURS
            if name in by_design.reasons(column.key) and name in found[column.key]
        }
        # (Or nobody did it now, or this kernel has not what it is about.)
        assert "fails" in words or words <= {"absent"}, f"{name}: {words}"
