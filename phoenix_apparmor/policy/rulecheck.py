"""Do the containers' own rules compile? With the parser, where it and the profile are here."""

from collections.abc import Iterator
from typing import Any

from phoenix_apparmor import paths
from phoenix_apparmor.assignments import parse
from phoenix_apparmor.assignments.finding import Finding, at
from phoenix_apparmor.assignments.parse import Assignment
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host
from phoenix_apparmor.policy import files, variants

# (number in the entry, rule)
Numbered = tuple[tuple[int, str], ...]


def findings(host: Host, text: bytes, *, in_use: bool) -> Iterator[Finding]:
    """An error for each rule with which its container's profile does not compile.

    Of a profile that is not here nothing can be said, and what breaks the schema is left out.
    in_use: the document is the host's, so the next starts find what is compiled.
    """
    if not host.has_program("apparmor_parser"):
        return
    try:
        entries = parse.document(text)["lxc_configs"]
    except PhoenixError:
        return
    for ctid, entry in entries.items():
        if not paths.is_ctid(ctid) or not isinstance(entry, dict):
            continue
        name = entry.get("apparmor_profile", paths.BASE)
        if parse.problem(ctid, {"apparmor_profile": name}) or name in paths.NO_LINE:
            continue
        rules = _readable(ctid, entry)
        if rules and files.find(host, name) is not None:
            keep = in_use and not parse.problem(ctid, entry)
            yield from _of(host, text, ctid, Assignment(name), rules, keep=keep)


def _readable(ctid: str, entry: dict[str, Any]) -> Numbered:
    """The rules of an entry that are one rule each."""
    listed = entry.get("apparmor_rules")
    numbered = tuple(enumerate(listed if isinstance(listed, list) else ()))[: parse.MOST_RULES]
    return tuple(
        (number, rule)
        for number, rule in numbered
        if not parse.problem(ctid, {"apparmor_rules": [rule]})
    )


def _of(
    host: Host, text: bytes, ctid: str, assignment: Assignment, rules: Numbered, *, keep: bool
) -> Iterator[Finding]:
    if _said(host, ctid, assignment, tuple(rule for _, rule in rules), keep=keep) == "":
        return
    wrong = _said(host, ctid, assignment, ())
    if wrong:
        path: tuple[str | int, ...] = ("lxc_configs", ctid, "apparmor_rules")
        yield at(text, path, wrong, "It is the profile, not these rules.", None)
        return
    for number, rule in rules:
        said = _said(host, ctid, assignment, (rule,))
        if said:
            path = ("lxc_configs", ctid, "apparmor_rules", number)
            yield at(text, path, f"the rule does not compile: {said}", "", rule)


def _said(
    host: Host, ctid: str, assignment: Assignment, rules: tuple[str, ...], *, keep: bool = False
) -> str:
    """What the parser says against the profile with these rules, "" if nothing."""
    try:
        variants.check(host, ctid, assignment, rules, keep=keep)
    except PhoenixError as error:
        return error.what
    return ""
