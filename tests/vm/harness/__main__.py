"""For people: run commands in a throw-away VM. See --help, and tests/vm/README.md."""

from __future__ import annotations

import argparse
import contextlib
import shlex
import sys
from collections.abc import Callable

from . import roots
from .errors import VmError
from .machine import Machine, Snapshot, booted
from .prepared import installed, proxmox
from .suites import SUITES

STAGES: dict[str, Callable[[str], Snapshot]] = {
    "booted": booted,
    "proxmox": proxmox,
    "installed": installed,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m tests.vm.harness", description=__doc__)
    parser.add_argument("verb", choices=("build", "run", "shell"))
    parser.add_argument("suite", choices=SUITES)
    parser.add_argument(
        "--stage",
        choices=STAGES,
        default="installed",
        help="what the VM has: only Debian, the Proxmox stand-in, our package",
    )
    parser.add_argument("--roots", action="store_true", help="with the big container roots")
    parser.add_argument("command", nargs="*", help="for run: a command line for bash")
    options = parser.parse_intermixed_args()
    try:
        snapshot: Snapshot = STAGES[options.stage](options.suite)
        big = roots.roots() if options.roots else None
        if options.verb == "build":
            print(snapshot.folder)
            return 0
        with Machine.resume(snapshot, big) as machine:
            if options.verb == "shell":
                return _shell(machine)
            return _run(machine, " ".join(options.command))
    except VmError as error:
        print(error, file=sys.stderr)
        return 1


def _live(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _run(machine: Machine, script: str) -> int:
    return machine.sh(script, timeout=3600, check=False, live=_live).rc


def _shell(machine: Machine) -> int:
    """Line by line, each in a bash of its own: no terminal, and cd does not last."""
    print("One command a line, each in a new bash; end with Ctrl-D.", file=sys.stderr)
    rc = 0
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        while True:
            line = input(f"{machine.suite}# ")
            if shlex.split(line, comments=True):
                rc = _run(machine, line)
    return rc


if __name__ == "__main__":
    sys.exit(main())
