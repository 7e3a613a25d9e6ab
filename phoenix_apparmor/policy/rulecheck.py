"""Do the containers' own rules compile? With the parser, where it and the profile are here."""

from collections.abc import Iterator

from phoenix_apparmor.assignments import parse
from phoenix_apparmor.assignments.finding import Finding, at
from phoenix_apparmor.assignments.parse import Assignment
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host
from phoenix_apparmor.policy import files, variants


def findings(host: Host, text: bytes, *, in_use: bool) -> Iterator[Finding]:
    """An error for each rule with which its container's profile does not compile.

    Of a profile that is not here nothing can be said. text: a document that can be read. in_use:
    it is the host's, so the next starts find what is compiled.
    """
    if not host.has_program("apparmor_parser"):
        return
    for ctid, assignment in parse.assignments(text).items():
        profile = assignment.profile
        if assignment.rules and profile and files.find(host, profile) is not None:
            yield from _of(host, text, ctid, assignment, keep=in_use)


def _of(
    host: Host, text: bytes, ctid: str, assignment: Assignment, *, keep: bool
) -> Iterator[Finding]:
    if _said(host, ctid, assignment, assignment.rules, keep=keep) == "":
        return
    wrong = _said(host, ctid, assignment, ())
    if wrong:
        path: tuple[str | int, ...] = ("lxc_configs", ctid, "apparmor_rules")
        yield at(text, path, wrong, "It is the profile, not these rules.", None)
        return
    for number, rule in enumerate(assignment.rules):
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
