"""Does every rule of the profiles earn its place? Each is taken out, one at a time.

    /usr/bin/python3 -m tests.bench.rules --compile [FILE [WORD]]

needs no VM: how many bytes of compiled policy each rule costs, by this machine's apparmor_parser,
which rules change nothing because others say the same, and which of the cases of
tests/unit/test_docker_mounts.py notice.

    /usr/bin/python3 -m tests.bench.rules SUITE [--attacks KEY | --boot] [FILE [WORD]]

In one VM the kernel gets the profile without the rule, made beside the VM by its own parser, while
containers run under it. With --attacks all attacks are tried in the column KEY of
tests/vm/attacks/columns.py: privileged-alone has no seccomp policy but LXC's, so that nothing but
the profile holds. Else the deeds and the attacks are done in a privileged container with systemd;
--boot starts it anew for each rule. Printed for each: which attack then does harm (a deny is for
that), which deed then fails (an allow is for that), or that nobody noticed.

FILE: only rules of abstractions/phoenix/FILE; WORD: only rules with it.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.build import TREE
from tests.names import BASE, DOCKER
from tests.unit import test_docker_mounts as mounts
from tests.unit.policydfa import MAGIC, Automaton
from tests.vm.attacks import columns as attackers
from tests.vm.attacks import program as attacks
from tests.vm.attacks import started
from tests.vm.booting import boot, make
from tests.vm.containers import assign, pct
from tests.vm.deeds import program as deeds
from tests.vm.deeds.columns import OURS, Column
from tests.vm.deeds.roots import roots
from tests.vm.harness.machine import Machine
from tests.vm.harness.policies import parser_root
from tests.vm.harness.prepared import installed, proxmox

FOLDER = TREE / "profiles/abstractions/phoenix"
FEATURES = "/etc/apparmor.d/abi/3.0"
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
    fails: frozenset[str] = frozenset()
    boot: str = ""

    def news(self, before: State) -> str:
        """What there was not before, in words; empty: nothing."""
        noticed = [f"harm: {name}" for name in sorted(self.harm - before.harm)]
        noticed += [f"fails: {name}" for name in sorted(self.fails - before.fails)]
        return "; ".join(noticed + [self.boot] * bool(self.boot))


def rules() -> Iterator[Rule]:
    """Every rule of the abstractions: a line that ends with a comma and is no comment."""
    for path in sorted(FOLDER.iterdir()):
        for number, line in enumerate(path.read_text().splitlines()):
            if line.strip().endswith(",") and not line.strip().startswith("#"):
                yield Rule(path.name, number, line.strip())


def of(profile: str, wanted: list[Rule]) -> list[Rule]:
    """Those that the profile includes."""
    text = (TREE / "profiles" / profile).read_text()
    return [rule for rule in wanted if f"<abstractions/phoenix/{rule.file}>" in text]


def policy(profile: str, rule: Rule | None, parser: list[str], base: str) -> bytes:
    """The compiled policy, without a rule."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "profiles"
        shutil.copytree(TREE / "profiles", folder)
        if rule:
            path = folder / "abstractions/phoenix" / rule.file
            lines = path.read_text().splitlines(keepends=True)
            path.write_text("".join(lines[: rule.number] + lines[rule.number + 1 :]))
        command = [*parser, "-QTKS", "--config-file=/dev/null", "--base", base]
        command += ["-I", str(folder), "-I", base, str(folder / profile)]
        return subprocess.run(command, check=True, capture_output=True).stdout


def here(profile: str, rule: Rule | None) -> bytes:
    """By this machine's parser."""
    parser = ["apparmor_parser", f"--features-file={FEATURES}"]
    return policy(profile, rule, parser, "/etc/apparmor.d")


def parser_of(suite: str) -> Callable[[str, Rule | None], bytes]:
    """By the parser of a suite's VM, for its kernel."""
    root = parser_root(proxmox(suite))
    libraries = f"{root}/lib/x86_64-linux-gnu"
    parser = [f"{root}/lib64/ld-linux-x86-64.so.2", "--library-path", libraries]
    parser += [f"{root}/usr/sbin/apparmor_parser"]
    parser += [f"--kernel-features={root}/sys/kernel/security/apparmor/features"]
    return lambda profile, rule: policy(profile, rule, parser, f"{root}/etc/apparmor.d")


def cases(compiled: bytes) -> frozenset[str]:
    """Cases of the docker profile's mounts that are not as they are to be."""
    automaton = Automaton(compiled[compiled.index(MAGIC) :])
    lost = {name for name, call in mounts.ALLOWED.items() if not mounts.allows(automaton, call)}
    open_ = {name for name, call in mounts.DENIED.items() if mounts.allows(automaton, call)}
    return frozenset(lost | open_)


def costs(wanted: list[Rule]) -> None:
    """Prints what each rule adds to the compiled policy, and the cases that notice."""
    for profile in COLUMNS:
        whole = here(profile, None)
        print(f"{len(whole):8} {profile}", flush=True)
        for rule in of(profile, wanted):
            rest = here(profile, rule)
            cost = "    SAME" if rest == whole else f"{len(whole) - len(rest):8}"
            noticed = sorted(cases(rest)) if profile == DOCKER else []
            told = f"   # {', '.join(noticed)}" if noticed else ""
            print(f"{cost} {rule.file}: {rule.text}{told}", flush=True)


def load(vm: Machine, compiled: bytes) -> None:
    """Replaces the profile of running containers."""
    vm.run("sh", "-c", "cat >/root/policy; apparmor_parser -r -B /root/policy", stdin=compiled)


def attack(vm: Machine, ctid: int) -> frozenset[str]:
    """The attacks that do harm in a running container."""
    attach = ("lxc-attach", "-n", str(ctid), "--clear-env", "--")
    told = vm.run(*attach, "/attack", timeout=attacks.ALL_ROWS, check=False).stdout
    return frozenset(name for name, word in attacks.results(told).items() if word == "harm")


def start(vm: Machine, column: Column) -> str:
    """A new container; how its boot ended where it did not end well."""
    pct(vm, "stop", column.ctid, check=False)
    make(vm, column.ctid, vm.debian, unprivileged=column.unprivileged, more=column.lines)
    attacks.put(vm, column.ctid, unprivileged=column.unprivileged)
    found = boot(vm, column.ctid)
    deeds.put(vm, column.ctid)
    return "" if found.state == "running" else f"boot: {found.state} {found.failed}"


def take_out(vm: Machine, profile: str, wanted: list[Rule], see: Callable[[], State]) -> None:
    """Prints for each rule what is seen without it and was not before."""
    without = parser_of(vm.suite)
    whole = without(profile, None)
    load(vm, whole)
    before = see()
    print(f"# {profile}, whole: {', '.join(sorted(before.harm | before.fails))}", flush=True)
    for rule in of(profile, wanted):
        rest = without(profile, rule)
        if rest == whole:
            told = "NO DIFFERENCE"
        else:
            load(vm, rest)
            told = see().news(before) or "NOBODY NOTICED"
        print(f"{rule.file}\t{rule.text}\t{told}", flush=True)
    load(vm, whole)


def by_attacks(suite: str, key: str, wanted: list[Rule]) -> None:
    column = next(column for column in attackers.ALL if column.key == key)
    with Machine.resume(installed(suite)) as vm:
        attacks.push(vm)
        started.assign(vm, (column,))
        started.start(vm, column)
        vm.sh(f"sysctl -q {attacks.SET}")
        assert column.assigned, f"{key} is under no profile of ours"
        take_out(vm, column.assigned, wanted, lambda: State(attack(vm, column.ctid)))


def by_deeds(suite: str, wanted: list[Rule], *, anew: bool) -> None:
    with Machine.resume(installed(suite), roots(suite)) as vm:
        deeds.prepare(vm)
        attacks.push(vm)
        assign(vm, {column.ctid: column.assigned for column in OURS})
        for profile, key in COLUMNS.items():
            column = next(column for column in OURS if column.key == key)
            files = (*FILES, NVIDIA) if profile == DOCKER else FILES

            def see(column: Column = column, files: tuple[str, ...] = files) -> State:
                booted = start(vm, column) if anew else ""
                harm = attack(vm, column.ctid)
                done = deeds.do(vm, column.ctid, files)
                fails = {name for name, deed in done.items() if deed.word == "fails"}
                return State(harm, frozenset(fails), booted)

            print(f"# {profile}: {start(vm, column)}", flush=True)
            take_out(vm, profile, wanted, see)
            pct(vm, "stop", column.ctid, check=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    if "--compile" not in sys.argv:
        parser.add_argument("suite")
    parser.add_argument("--compile", action="store_true", help="only what each rule costs")
    parser.add_argument("--attacks", metavar="KEY", help="only attacks, in this column")
    parser.add_argument("--boot", action="store_true", help="start the container for each rule")
    parser.add_argument("file", nargs="?", default="")
    parser.add_argument("word", nargs="?", default="")
    options = parser.parse_intermixed_args()
    wanted = [rule for rule in rules() if options.file in ("", rule.file)]
    wanted = [rule for rule in wanted if options.word in rule.text]
    if options.compile:
        costs(wanted)
    elif options.attacks:
        by_attacks(options.suite, options.attacks, wanted)
    else:
        by_deeds(options.suite, wanted, anew=options.boot)


if __name__ == "__main__":
    main()
