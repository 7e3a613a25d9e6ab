"""What a site's own rules in local/ open, for every container under the profile.

The judge is that of denials, allow and validate: one rule is the same hole in the JSON and there.
"""

from collections.abc import Collection, Iterator

from phoenix_apparmor import paths
from phoenix_apparmor.assignments import holes, verdicts
from phoenix_apparmor.denials.judge import Judge
from phoenix_apparmor.denials.quoting import readable
from phoenix_apparmor.doctor.finding import Finding
from phoenix_apparmor.host import Host
from phoenix_apparmor.policy import compiled, policytext, rules
from phoenix_apparmor.policy.files import ProfileFile

LONGEST = 100


def opened(
    host: Host, file: ProfileFile, who: tuple[str, ...], told: Collection[str], reload: str
) -> Iterator[Finding]:
    """Rules of a profile's local/ file, and of what that includes, of which something is to say.

    who: the containers under the profile. told: rules of which another finding speaks. reload:
    the command that loads the profile.
    """
    local = f"local/{file.path.rpartition('/')[2]}"
    text = compiled.included(host, local) if f"<{local}>".encode() in file.text else None
    if not text or not compiled.compiles(host, file):
        return  # that it does not, another check tells
    judge = Judge(host)
    # of any container that it may be given to
    whose = judge.of("", file.name, None)

    def hole(rule: str) -> str:
        return judge.hole(rule, whose)

    for path, rule in _rules(host, f"{paths.APPARMOR_D}/{local}", text):
        if rule.denies or rule.text in told:
            continue
        shown = f'the rule "{readable(rule.text, LONGEST)}" in {path}'
        # a variable's value may end in a slash
        never = None if "@{" in rule.text else verdicts.never_matches(rule.text, hole)
        why = hole(rule.text)
        if never is not None:
            what, advice = f"{shown} never matches a folder.", never.hint
        elif why:
            what = f"{shown} opens a hole for every container under {file.name}: {why}."
            advice = f"better not. {holes.remedy(rule.text, why)}".strip()
        else:
            continue
        advice = f"{advice.removesuffix('.')}; remove the rule or change it, then: {reload}"
        yield Finding("warning", what, f"{path}: {readable(rule.text)}", advice=advice, ctids=who)


def _rules(host: Host, path: str, text: str) -> Iterator[tuple[str, rules.Rule]]:
    """(file, rule) of a text without its blocks."""

    def read(name: str) -> str | None:
        return compiled.included(host, name)

    for piece in policytext.expand(text, path, read):
        bare = policytext.without_includes(piece.text)
        for found in rules.parse(f"profile local {{\n{bare}\n}}\n")[:1]:
            yield from ((piece.path, rule) for rule in found.rules)
