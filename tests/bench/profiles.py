"""Compile time and size of our profiles, beside another text of each. Prints ratios.

Side by side with hyperfine. REFERENCE is a folder with files of the same names; without it, only
our own figures. The abstractions are this tree's.

Where the size comes from (measured): in the automaton a mount rule's paths stand before its flags,
so each pair of patterns for target and source costs states of its own, and each of these has all
names of file systems again. AppArmor's [^x] matches the zero byte that ends a field, so a chain
runs on into the next field, unless it excludes that (profiles/chains.py does: base has 149 kB with
3.0.8 and 221 kB with 4.1, 383 and 519 before). And the parser puts states together by their
permissions with a comparison that is no order (libapparmor_re/hfa.h, perms_t: one smaller field is
"smaller", whatever the others are), so with 4.1 quiet denies beside allows are split
thousandfold: the docker profile is 356 kB there and 154 kB with 3.0.8. apparmor_parser -D dfa-stats
shows with how many partitions it begins.

A pattern that begins with /{,**/} goes on beside all others. So a name that is denied wherever it
is costs its letters once for each state of the others that can be open at that place: those of
kernel/ are denied with their folder (4,081 states of files then, 1,839 now), and a condition on a
bind mount's source costs its letters for each class of targets that the rules tell apart (8,054
states of mounts then, 3,746 now).

    /usr/bin/python3 -m tests.bench.profiles [REFERENCE]
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.build import TREE

OURS = TREE / "profiles"
RUNS = os.environ.get("RUNS", "10")


def compiling(profile: Path) -> list[str]:
    return ["apparmor_parser", "-QTKS", "-I", str(OURS), "-I", "/etc/apparmor.d", str(profile)]


def seconds(*commands: list[str]) -> list[float]:
    """Median time of each, all in one run."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        options = ["-N", "-w", "1", "-r", RUNS, "--export-json", str(result)]
        lines = [shlex.join(command) for command in commands]
        subprocess.run(["hyperfine", *options, *lines], check=True, capture_output=True)
        return [entry["median"] for entry in json.loads(result.read_text())["results"]]


def size(command: list[str]) -> int:
    return len(subprocess.run(command, check=True, capture_output=True).stdout)


def main() -> int:
    reference = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    for profile in sorted(OURS.glob("lxc-*")):
        commands = [compiling(profile)]
        if reference is not None:
            commands.append(compiling(reference / profile.name))
        sizes, times = [size(command) for command in commands], seconds(*commands)
        print(f"{profile.name}: {sizes[0]} bytes, compiled in {times[0] * 1000:.0f} ms")
        if reference is not None:
            print(f"  the other: {sizes[1]} bytes, {times[1] * 1000:.0f} ms")
            ratios = sizes[0] / sizes[1], times[0] / times[1]
            print(f"  ours / the other: size {ratios[0]:.2f}, time {ratios[1]:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
