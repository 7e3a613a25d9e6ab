"""validate: is this phoenix_lxc_configs.json right, and if not, where and why."""

import argparse
import json
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from phoenix_apparmor import kernel, paths, trial
from phoenix_apparmor.assignments import full_schema, lookup, parse, validate
from phoenix_apparmor.assignments.finding import Finding, in_order
from phoenix_apparmor.assignments.validate import Names
from phoenix_apparmor.errors import PhoenixError, from_os_error, one_line
from phoenix_apparmor.host import Host
from phoenix_apparmor.policy import files, rulecheck
from phoenix_apparmor.terminal.output import RED, YELLOW, has_colour, show
from phoenix_apparmor.terminal.table import width

if TYPE_CHECKING:
    from phoenix_apparmor.cli.common import Subparsers

SCHEMA_VERSION = 1
# Columns of a source line that are shown around a finding.
SHOWN = 76

EPILOG = """\
Errors are what would keep a container from starting. Warnings are names that
this host does not have, keys that look mistyped, and breaches of the full
schema (--schema, or the file that the document's own "$schema" names).

exit status: 0 no error (warnings alone are no error), 1 an error, 64 wrong usage

examples:
  phoenix-apparmor validate
  phoenix-apparmor validate ./phoenix_lxc_configs.json
  git show :etc/phoenix_lxc_configs.json | phoenix-apparmor validate -
"""


def add(verbs: "Subparsers[argparse.ArgumentParser]") -> None:
    """The arguments of validate."""
    parser = verbs.add_parser(
        "validate",
        help="check the AppArmor part of phoenix_lxc_configs.json",
        description="Checks the AppArmor part of the JSON that this host uses, or of FILEs (- is\n"
        "standard input), and shows each error with its line and column.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", metavar="FILE", nargs="*", help="default: the one in use")
    parser.add_argument("--schema", metavar="FILE", help="also check the whole against FILE")
    parser.add_argument("--strict", action="store_true", help="warnings are errors")
    parser.add_argument("--json", action="store_true", help="for programs (validate.schema.json)")
    parser.set_defaults(run=run)


def run(host: Host, args: argparse.Namespace) -> int:
    """0 if nothing is wrong, 1 if something is."""
    from phoenix_apparmor.denials.judge import Judge

    documents = []
    judge = Judge(host)
    fault: PhoenixError | None = None
    for file in args.files or [in_use(host)]:
        text = read(host, file, given=bool(args.files))
        names = known_names(host, for_here=not args.files)
        found = validate.findings(text, lookup.schema(), names, judge.verdicts)
        try:
            if args.schema:
                schema: Mapping[str, Any] | None = read_schema(Host(), args.schema)
            else:
                schema = own_schema(host, file, text, given=bool(args.files))
            if schema is not None:
                found = in_order([*found, *full_schema.breaches(text, schema, found)])
        except PhoenixError as error:
            if args.schema:
                fault = error
            else:
                found = in_order([*found, full_schema.schema_fault(text, error)])
        found = in_order([*found, *rulecheck.findings(host, text, in_use=not args.files)])
        if args.strict:
            found = [finding._replace(severity="error") for finding in found]
        documents.append((file, text, found))
    if args.json:
        shown = json.dumps(as_json(documents), indent=2, sort_keys=True) + "\n"
    else:
        colour = has_colour(sys.stdout)
        shown = "".join(
            as_text(file, text, found, colour=colour) for file, text, found in documents
        )
    show(shown, colour=has_colour(sys.stdout))
    if fault is not None:
        raise PhoenixError(f"--schema {args.schema}: {fault.what}", hint=fault.hint)
    return 1 if any(f.severity == "error" for _, _, found in documents for f in found) else 0


def in_use(host: Host) -> str:
    """The JSON that is used on this host. Raises PhoenixError where a start could use none."""
    found = lookup.find_json(host)
    if found.trouble is not None:
        known = lookup.everyone(host, save=False)
        used = "Starts use the last good assignments" if known.ever else "Nothing is assigned"
        raise PhoenixError(f"{found.trouble.what} {used}.", hint=found.trouble.hint)
    return found.source


def read(host: Host, file: str, *, given: bool) -> bytes:
    """The text of a document; FILEs are the caller's own, not below --root."""
    if file == "-" and given:
        return sys.stdin.buffer.read(parse.BIGGEST_JSON + 1)
    try:
        where, name = (Host(), os.path.abspath(file)) if given else (host, file)
        return where.read(name, parse.BIGGEST_JSON)
    except OSError as error:
        raise from_os_error(error, f"cannot read {file}") from error


def read_schema(host: Host, file: str) -> Mapping[str, Any]:
    """A JSON schema. Raises PhoenixError where it is none."""
    try:
        schema = json.loads(host.read(os.path.abspath(file)))
    except OSError as error:
        raise from_os_error(error, f"cannot read {file}") from error
    except (ValueError, RecursionError) as error:
        raise PhoenixError(f"{file} is not JSON: {error}.") from error
    if not isinstance(schema, dict):
        raise PhoenixError(f"{file} is not a JSON schema: it is not an object.")
    return schema


def own_schema(host: Host, file: str, text: bytes, *, given: bool) -> Mapping[str, Any] | None:
    """The schema that the document's own "$schema" names, None where that is no file's name.

    Raises PhoenixError where it cannot be used, also because it is not there.
    """
    try:
        name = json.loads(text.decode("utf-8-sig")).get("$schema")
    except (ValueError, AttributeError, RecursionError):
        return None
    if not isinstance(name, str) or "://" in name or "\0" in name:
        return None
    where = Host() if given else host
    path = os.path.join(os.path.dirname(os.path.abspath(file)), name)
    return read_schema(where, path)


def known_names(host: Host, *, for_here: bool) -> Names:
    """The profiles of this host, for a did-you-mean, and to see which it does not have.

    for_here: whether the document is this host's. On a machine that has our profiles any other
    one is taken for a host's of that kind; elsewhere (a desk, CI) no profile can be missed.
    """
    here: set[str] = set()
    for path in files.policy_files(host):
        try:
            here.update(files.declared_names(files.read(host, path) or b""))
        except PhoenixError:
            continue
    loaded = set(kernel.all_modes(kernel.profile_list(host) or b"")) - here
    named = {name: of.profile for name in loaded if (of := trial.made_of(name)) is not None}
    made = {name: profile for name, profile in named.items() if profile in here | loaded}
    here |= loaded - made.keys()
    ours = sorted(name for name in here if name.startswith("lxc-") and "<" not in name)
    known = [*paths.SHIPPED, *(name for name in ours if name not in paths.SHIPPED)]
    return Names(known, here if for_here or paths.BASE in here else None, made)


def as_text(file: str, text: bytes, found: list[Finding], *, colour: bool) -> str:
    """Each finding with its line and a mark below it, then a sentence."""
    file = "<stdin>" if file == "-" else one_line(file)
    parts = [finding_text(file, finding, colour=colour) for finding in found]
    errors = sum(f.severity == "error" for f in found)
    warnings = len(found) - errors
    if errors or warnings:
        parts.append(f"{file}: {_count(errors, 'error')}, {_count(warnings, 'warning')}.\n")
    else:
        parts.append(f"{file}: valid; {_count(_containers(text), 'container')}.\n")
    return "".join(parts)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _containers(text: bytes) -> int:
    return len(json.loads(text.decode("utf-8-sig"))["lxc_configs"])


def finding_text(file: str, finding: Finding, *, colour: bool) -> str:
    """FILE:LINE:COLUMN as compilers write it, the line, a mark below it, how to fix it."""
    line, column, length = finding.place
    kind = finding.severity
    if colour:
        kind_colour = RED if kind == "error" else YELLOW
        kind_shown = f"\x1b[{kind_colour}m{kind}\x1b[0m"
    else:
        kind_shown = kind
    path = f"{finding.path}: " if finding.path else ""
    shown = f"{file}:{line}:{column}: {kind_shown}: {path}{finding.what}\n"
    source = finding.source.replace("\t", " ")
    # One long line, as programs write JSON, is shown around the place.
    begin = max(0, column - 1 - SHOWN // 2) if len(source) > SHOWN else 0
    window = "".join(c if c.isprintable() else "?" for c in source[begin : begin + SHOWN])
    margin = " " * width(window[: column - 1 - begin])
    mark = "^" * max(1, width(window[column - 1 - begin :][:length]))
    shown += f"    {window.rstrip()}\n    {margin}{mark}\n"
    return shown + (f"  {finding.hint}\n" if finding.hint else "")


def as_json(documents: list[tuple[str, bytes, list[Finding]]]) -> dict[str, Any]:
    """For programs: validate.schema.json describes it."""
    return {
        "schema_version": SCHEMA_VERSION,
        "fine": not any(f.severity == "error" for _, _, found in documents for f in found),
        "findings": [
            {
                "file": file,
                "line": f.place.line,
                "column": f.place.column,
                "severity": f.severity,
                "path": f.path or None,
                "value": f.value or None,
                "what": f.what,
                "hint": f.hint,
            }
            for file, _, found in documents
            for f in found
        ],
    }
