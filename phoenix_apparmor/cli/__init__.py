"""The command line: arguments in, exit status out. One small file a verb."""

import argparse
import importlib
import io
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from phoenix_apparmor import __version__
from phoenix_apparmor.errors import PhoenixError, as_error, one_line
from phoenix_apparmor.host import Host, forget_output, need_streams
from phoenix_apparmor.terminal.output import complain, warn

USAGE_ERROR = 64

# A module of this package each.
VERBS = (
    "reload",
    "apply",
    "status",
    "validate",
    "attach",
    "detach",
    "doctor",
    "denials",
    "suggest",
    "allow",
    "publish",
)


class Parser(argparse.ArgumentParser):
    """argparse with the exit status of sysexits.h for a wrong call."""

    def error(self, message: str) -> NoReturn:
        """Says what is wrong with the arguments and ends with status 64."""
        self.print_usage(sys.stderr)
        self.exit(USAGE_ERROR, f"{self.prog}: {one_line(message)}\n")


def make_parser(wanted: Sequence[str] = VERBS) -> Parser:
    """The parser of the command line with the wanted verbs.

    Each verb sets run, a function of (Host, args).
    """
    parser = Parser(
        prog="phoenix-apparmor",
        description="Keeps Proxmox LXC containers with NVIDIA GPUs confined by AppArmor.",
        epilog="Exit status: 0 all is well, 1 error, 2 needs attention, 64 wrong usage.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument(
        "--root",
        metavar="DIR",
        default=os.environ.get("PHOENIX_APPARMOR_ROOT", ""),
        help="work on the host tree below DIR (also: PHOENIX_APPARMOR_ROOT)",
    )
    verbs = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    for verb in wanted:
        importlib.import_module(f"{__name__}.{verb}").add(verbs)
    return parser


def _called(arguments: Sequence[str]) -> Sequence[str]:
    """The verb at its usual place, whose module alone is imported then; else all.

    Help and errors name all of them. To import them takes longer than what most of them do.
    """
    place = 2 if arguments[:1] == ["--root"] else 0
    verb = arguments[place : place + 1]
    return verb if verb and verb[0] in VERBS else VERBS


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb; the one place where errors become messages and an exit status."""
    need_streams()
    for stream in (sys.stdout, sys.stderr):
        # A name in a .conf may be no UTF-8, and a terminal may not take what is not ASCII.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        return _run(_parse(arguments))
    except BrokenPipeError:
        return 0  # the reader (head, less) has seen enough
    except KeyboardInterrupt:
        return 130
    except (OSError, UnicodeError, ImportError, RecursionError, MemoryError) as error:
        complain(str(as_error(error)))
        return 1
    finally:
        forget_output()


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        return make_parser(_called(given)).parse_args(given)
    except SystemExit:
        sys.stdout.flush()  # what --help and --version print may have no room
        raise


def _run(args: argparse.Namespace) -> int:
    try:
        host = Host(args.root)
        if args.root and not os.path.isdir(host.root):
            raise PhoenixError(f"--root {args.root} is not a folder.", status=USAGE_ERROR)
        status: int = args.run(host, args)
    except PhoenixError as error:
        warn(str(error))
        return error.status
    sys.stdout.flush()
    return status
