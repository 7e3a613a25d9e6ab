"""Does every rule of the profiles earn its place? Each is taken out, one at a time.

In one VM: a privileged container under lxc-nvidia-gpu-docker and one under lxc-nvidia-gpu-base run
while the kernel gets the profile without one rule; then the attacks and the deeds are done in it.
Printed for each rule: which attack then does harm (a deny is for that), which deed then fails (an
allow is for that), or that nobody noticed. A rule that only a boot needs is noticed with --boot,
which starts the container anew for each.

    /usr/bin/python3 -m tests.bench.rules trixie [--boot] [FILE [WORD]]
    /usr/bin/python3 -m tests.bench.rules --compile [FILE [WORD]]

--compile needs no VM: how many bytes of compiled policy each rule costs, by this machine's
apparmor_parser, and which rules change nothing because others say the same.

FILE: only rules of abstractions/phoenix/FILE; WORD: only rules with it.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.build import TREE
from tests.names import BASE, DOCKER
from tests.vm.attacks import program as attacks
from tests.vm.booting import boot, make
from tests.vm.containers import assign, pct
from tests.vm.deeds import program as deeds
from tests.vm.deeds.columns import OURS, Column
from tests.vm.deeds.roots import roots
from tests.vm.harness.machine import Machine
from tests.vm.harness.prepared import installed

FOLDER = TREE / "profiles/abstractions/phoenix"
FEATURES = "/etc/apparmor.d/abi/3.0"
IN_VM = "/etc/apparmor.d/abstractions/phoenix"
FILES = ("10-kernel.sh", "20-mounts.sh", "30-systemd.sh", "40-sandboxes.sh", "80-containers.sh")
NVIDIA = "90-nvidia.sh"
COLUMNS = {BASE: "p-base", DOCKER: "p-docker"}


class Rule(NamedTuple):
    """One rule of an abstraction, by its place."""

    file: str
    number: int
    text: str


class State(NamedTuple):
    """What is seen with one text of the policy."""

    harm: frozenset[str]
    fails: frozenset[str]


def rules() -> Iterator[Rule]:
    """Every rule of the abstractions: a line that ends with a comma and is no comment."""
    for path in sorted(FOLDER.iterdir()):
        for number, line in enumerate(path.read_text().splitlines()):
            if line.strip().endswith(",") and not line.strip().startswith("#"):
                yield Rule(path.name, number, line.strip())


def without(rule: Rule) -> str:
    """The abstraction's text without the rule."""
    lines = (FOLDER / rule.file).read_text().splitlines(keepends=True)
    return "".join(lines[: rule.number] + lines[rule.number + 1 :])


def load(vm: Machine, profile: str) -> None:
    """Replaces the profile of running containers, from the text that is in the VM now."""
    vm.run("apparmor_parser", "-r", "-K", f"/etc/apparmor.d/{profile}", timeout=300)


def see(vm: Machine, column: Column) -> State:
    """Attacks and deeds in the column's running container."""
    ctid = str(column.ctid)
    attach = ("lxc-attach", "-n", ctid, "--clear-env", "--")
    told = vm.run(*attach, "/attack", timeout=attacks.ALL_ROWS, check=False).stdout
    harm = {name for name, word in attacks.results(told).items() if word == "harm"}
    files = (*FILES, NVIDIA) if column.assigned == DOCKER else FILES
    done = deeds.do(vm, column.ctid, files)
    return State(frozenset(harm), frozenset(n for n, deed in done.items() if deed.word == "fails"))


def start(vm: Machine, column: Column) -> str:
    """A new container; how its boot ended where it did not end well."""
    pct(vm, "stop", column.ctid, check=False)
    make(vm, column.ctid, vm.suite, unprivileged=column.unprivileged, more=column.lines)
    attacks.put(vm, column.ctid, unprivileged=column.unprivileged)
    found = boot(vm, column.ctid)
    deeds.put(vm, column.ctid)
    return "" if found.state == "running" else f"boot: {found.state} {found.failed}"


def policy(profile: str, folder: Path) -> bytes:
    """The compiled policy with the abstractions of a copy of profiles/."""
    command = ["apparmor_parser", "-QTKS", "-I", str(folder), "-I", "/etc/apparmor.d"]
    command += [f"--features-file={FEATURES}", str(folder / profile)]
    return subprocess.run(command, check=True, capture_output=True).stdout


def costs(wanted: list[Rule]) -> None:
    """Prints what each rule adds to the compiled policy."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "profiles"
        shutil.copytree(TREE / "profiles", folder)
        for profile in COLUMNS:
            whole = policy(profile, folder)
            print(f"{len(whole):8} {profile}", flush=True)
            for rule in wanted:
                if f"<abstractions/phoenix/{rule.file}>" not in (folder / profile).read_text():
                    continue
                path = folder / "abstractions/phoenix" / rule.file
                path.write_text(without(rule))
                rest = policy(profile, folder)
                path.write_text((FOLDER / rule.file).read_text())
                cost = "    SAME" if rest == whole else f"{len(whole) - len(rest):8}"
                print(f"{cost} {rule.file}: {rule.text}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    if "--compile" not in sys.argv:
        parser.add_argument("suite")
    parser.add_argument("--compile", action="store_true", help="only what each rule costs")
    parser.add_argument("--boot", action="store_true", help="start the container for each rule")
    parser.add_argument("file", nargs="?", default="")
    parser.add_argument("word", nargs="?", default="")
    options = parser.parse_args()
    wanted = [rule for rule in rules() if options.file in ("", rule.file)]
    wanted = [rule for rule in wanted if options.word in rule.text]
    if options.compile:
        costs(wanted)
        return
    with Machine.resume(installed(options.suite), roots(options.suite)) as vm:
        deeds.prepare(vm)
        attacks.push(vm)
        assign(vm, {column.ctid: column.assigned for column in OURS})
        for profile, key in COLUMNS.items():
            column = next(column for column in OURS if column.key == key)
            including = (TREE / "profiles" / profile).read_text()
            print(f"# {profile}: {start(vm, column)}", flush=True)
            before = see(vm, column)
            for rule in wanted:
                if f"<abstractions/phoenix/{rule.file}>" not in including:
                    continue
                vm.write(f"{IN_VM}/{rule.file}", without(rule))
                load(vm, profile)
                booted = start(vm, column) if options.boot else ""
                after = see(vm, column)
                vm.write(f"{IN_VM}/{rule.file}", (FOLDER / rule.file).read_text())
                load(vm, profile)
                noticed = [f"harm: {name}" for name in sorted(after.harm - before.harm)]
                noticed += [f"fails: {name}" for name in sorted(after.fails - before.fails)]
                noticed += [booted] if booted else []
                told = "; ".join(noticed) or "NOBODY NOTICED"
                print(f"{profile}\t{rule.file}\t{rule.text}\t{told}", flush=True)
            pct(vm, "stop", column.ctid, check=False)


if __name__ == "__main__":
    main()
