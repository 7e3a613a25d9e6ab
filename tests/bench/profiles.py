"""Compile time and size of our profiles, beside another text of each. Prints ratios.

Side by side with hyperfine. REFERENCE is a folder with files of the same names; without it, only
our own figures. The abstractions are this tree's.

Where the size comes from (measured): in the automaton a mount rule's paths stand before its flags
(target, source, type, flags), so each pair of patterns for target and source costs states of its
own, and each of these has all names of file systems again: their names are as short as is sure.
AppArmor's [^x] matches the zero byte that ends a field, so a chain runs on into the next field,
unless it excludes that (profiles/chains.py does).

A target of which the rules say anything of its own (a type, a flag) has all sources of its own: 4
to 10 kB, where sources are denied by name. So places that need nearly the same get the same rules
(/dev/shm and the namespaces of units), a flag that harms nowhere is allowed everywhere (silent with
propagation), and where nothing is bound nothing may be (/proc and /sys themselves, credentials: 24
kB with 3.0.8). What holds for bind and not for rbind doubles all sources.

A pattern that begins with /{,**/} goes on beside all others. So a name that is denied wherever it
is costs its letters once for each state of the others that can be open at that place: those of
kernel/ are denied with their folder, and a condition on a bind mount's source costs its letters for
each class of targets that the rules tell apart. A "*" for a folder's name (module/*/parameters) has
all others once more within it: 9 kB; [0-9]* for a thread's number has none.

"deny" without "audit" is quiet, which is something else than no rule: the automaton has to go to
the end of every call to know. With 4.1, where propagation and moves allow no more than they say,
most denies of mounts are what no rule allows anyway: with "audit" they cost nothing there. (Both
hold in a trial: its guard enforces them.)

4.1 has a flaw besides: it puts states together by their permissions in a std::map with a comparison
that is no order (libapparmor_re/hfa.h, perms_t: one smaller field is "smaller", whatever the others
are; mended upstream after 4.1). Quiet denies are smaller than what is allowed, and the other way
round. What comes third is not found again, and each of its states stays by itself, with all that
leads to it. dfa-stats shows that ("init" in the thousands: should be about ten), and -D
dfa-states-initial the order in which the kinds come. That order goes by where in memory the parser
has its rules: one file gave 565 or 675 kB, here with LANG=C or C.UTF-8, and in a VM again the
other (GLIBC_TUNABLES=glibc.malloc.tcache_count=N shows both). So denies of files are told, too: no
kind is quiet, and "less is allowed" is an order. (All the same in which lines a chain is split made
base another policy in one of 18 layouts: MOST in profiles/chains.py. docker's has one in 18 layouts
too, and another where the parser is started by ld.so.)

What was tried, in bytes as the VMs' parsers make them (3.0.8 and 4.1), one after the other:

                                                     base               docker
    before                                     152,385  226,937   157,945  337,513
    mounts denied with audit                   141,385  101,697   157,785  244,697
    trees of files: reading denied with audit        -        -   157,825  160,929
    short names of file systems; silent        136,265   99,913   145,857  142,273
    fewer targets; numbers of threads          135,793   99,233   120,217  116,145
    /p, /pr, … as any other name               130,489   99,257   120,217  116,145
    quiet where systemd tries proc             131,097   99,753         -        -
    bubblewrap 0.12; FUSE's control files            -        -   126,049  120,481
    more closed, until then                    133,905  103,673   131,665  125,713
    a unit's root closed for reading too,
    /dev/.lxc (base has none) at one place     124,609   85,809   131,913  125,913
    files denied with audit                    125,457   81,481   126,385  118,393
    sysctls left to the cgroup's program             -        -    99,377   94,481
    kernel's files left to its programs        125,193   81,529    77,153   73,401
    one root in fewer places (below)            78,537   67,513    76,537   73,177

    and not taken:
    denies of fstype without audit              +2,200  +77,300      +800  +18,000
    denies of files without l                     +100     -100      -400     -400
    3.0.8 allows no more binds than 4.1         -7,800        0    (compiles twice as long)
    /dev/shm as credentials: no plain remount         -        -    -1,400   -2,200

"One root in fewer places": of 64 targets that the rules of base told apart 26 are left. What is
denied of parts of /proc and /sys is denied of all names but the few on which something is bound,
and those by as many letters as tell them from the rest; in /proc and /sys of the root and of a
unit's the same is allowed; chains of targets have all beginnings of their names (/p is no place of
its own: 11 kB), in braces within braces, as a flat list of these takes 3.0 twice as long. Those of
sources have not: nothing is gained, and with docker's 3.0 takes 3 s. To see what is told apart:
walk the automaton to each state in which the target's zero byte comes, and see where that leads.

What takes time are the states before the smallest automaton is found from them. Of each deny that
goes on behind its names ("**") they remember whether it has matched, for each set of the others:
those of the docker profile for sources that begin with /{,**/} are one rule, written with the same
"**" in braces, and so one thing to remember: 10,128 states with 4.1, 29,688 as five rules, and the
same automaton. They compile in 0.46 and 0.22 s (base), 0.37 and 0.42 s (docker) of a processor's
time; before: 0.54 and 0.27, 1.02 and 1.33; 1.0.0: 0.39 and 0.46, 0.46 and 0.47. The kernel
keeps three times their size (6.1), or six times (6.12). For Linux 6.17 the same parser writes
larger tables: 290,905 and 289,353 bytes (1.0.0: 1,685,329 and 1,709,625).

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
from tests.unit.policydfa import ABI, PARSER

OURS = TREE / "profiles"
RUNS = os.environ.get("RUNS", "10")


def compiling(profile: Path) -> list[str]:
    """What the parser makes of it with its own features: it leaves out what this kernel has not."""
    features = ["--config-file=/dev/null", f"--features-file={ABI}"]
    folders = ["-I", str(OURS), "-I", "/etc/apparmor.d"]
    return [PARSER, "-QTKS", *features, *folders, str(profile)]


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
