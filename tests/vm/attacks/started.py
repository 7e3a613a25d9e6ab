"""Containers of the columns: assigned, made and started."""

from __future__ import annotations

import json
from collections.abc import Iterable

from tests.names import JSON
from tests.vm.attacks import program
from tests.vm.attacks.columns import Column
from tests.vm.containers import OUR_HOOKSCRIPT, create, label, pct
from tests.vm.harness.machine import Machine
from tests.vm.harness.prepared import precompile


def document(columns: Iterable[Column]) -> str:
    """The JSON with those that are ours."""
    entries = {
        str(column.ctid): {"apparmor_profile": column.assigned}
        | ({"apparmor_mode": "trial"} if column.trial else {})
        for column in columns
        if column.ours
    }
    return json.dumps({"lxc_configs": entries})


def assign(vm: Machine, columns: Iterable[Column]) -> None:
    """Writes the JSON with those that are ours."""
    text = document(columns)
    vm.write(JSON, text, 0o640)
    precompile(vm, text)


def start(vm: Machine, column: Column, prepare: str = "") -> None:
    """A running container of the column, with the attack program; prepare: on the host, before."""
    ctid = column.ctid
    # What a trial runs under is compiled at its start: too much for the drop-in's time, emulated.
    hookscript = OUR_HOOKSCRIPT if column.trial else None
    create(vm, ctid, unprivileged=column.unprivileged, hookscript=hookscript, more=column.more)
    program.put(vm, ctid, unprivileged=column.unprivileged)
    if prepare:
        vm.sh(prepare)
    pct(vm, "start", ctid)
    assert label(vm, ctid).startswith(column.label), label(vm, ctid)
