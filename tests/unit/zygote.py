"""Runs our command line and hooks in forks of a process that has imported them already.

Each call is a process of its own, as on a host, but does not pay for starting Python and importing:
that was two thirds of what the fast tests cost. A request is a line of JSON on stdin; the answer
is a line with the exit status, negative for a signal. The outputs go to the files it names.

Some requests are run here: before others, so that each fork has what pure functions remember of a
text (patterns that are compiled, rules that are read), and the command line in tests/run --fast, of
which these forks were a quarter. No other state is left behind: the package keeps none in its
modules.
"""

import gc
import importlib
import io
import json
import os
import pkgutil
import runpy
import sys
import time
from typing import Any

import phoenix_apparmor


def preload() -> None:
    for found in pkgutil.walk_packages(phoenix_apparmor.__path__, "phoenix_apparmor."):
        if not found.name.endswith(".__main__"):
            importlib.import_module(found.name)
    for name in ("debian.deb822", "jsonschema", "subprocess", "difflib"):  # imported when needed
        importlib.import_module(name)


def become(request: dict[str, Any]) -> None:
    """What exec and Python's start would have set up."""
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    os.chdir("/")
    os.umask(request["umask"])
    sys.argv = [request["program"], *request["argv"]]
    null = os.open(os.devnull, os.O_RDONLY)
    for number, name in ((0, None), (1, request["out"]), (2, request["err"])):
        fd = null if name is None else os.open(name, os.O_WRONLY)
        os.dup2(fd, number)
        os.close(fd)
    sys.stdin = io.TextIOWrapper(open(0, "rb", closefd=False), encoding="utf-8")  # noqa: SIM115
    sys.stdout = io.TextIOWrapper(
        open(1, "wb", closefd=False),  # noqa: SIM115
        encoding="utf-8",
        errors="surrogateescape",
    )
    sys.stderr = io.TextIOWrapper(
        open(2, "wb", buffering=0, closefd=False),  # noqa: SIM115
        encoding="utf-8", errors="backslashreplace", write_through=True,
    )  # fmt: skip


def run(request: dict[str, Any]) -> int:
    try:
        become(request)
        if request["program"].startswith("/"):
            runpy.run_path(request["program"], run_name="__main__")
        else:
            runpy.run_module(request["program"], run_name="__main__", alter_sys=False)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:  # noqa: BLE001  (as the interpreter does)
        sys.excepthook(*sys.exc_info())
        status = 1
    sys.stdout.flush()
    return status


def run_here(request: dict[str, Any]) -> int:
    """In this process, which then is as it was."""
    descriptors = [os.dup(number) for number in range(3)]
    streams, path = (sys.stdin, sys.stdout, sys.stderr), list(sys.path)
    status = run(request)
    sys.stdin, sys.stdout, sys.stderr = streams
    sys.path[:] = path
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    return status


def main() -> None:
    preload()
    gc.freeze()  # else a collection in a fork copies every page of what was imported
    gc.disable()
    for number, line in enumerate(sys.stdin):
        if number % 256 == 0:
            gc.collect()
        request = json.loads(line)
        if request["here"]:
            print(run_here(request), flush=True)
            if request["freeze"]:
                gc.collect()
                gc.freeze()
            continue
        child = os.fork()
        if child == 0:
            status = 120  # Python's own, where the last flush fails
            try:
                status = run(request)
            finally:
                os._exit(status)
        _, ended = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(ended), flush=True)


if __name__ == "__main__":
    main()
