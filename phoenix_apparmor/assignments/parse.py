"""The JSON -> who gets which profile, and what of it is wrong. Pure: text in, values out."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from phoenix_apparmor import lastgood, lxcconf, paths
from phoenix_apparmor.assignments import rules
from phoenix_apparmor.errors import PhoenixError, one_line

OUR_KEYS = (
    "apparmor_profile",
    "apparmor_policy_namespace",
    "apparmor_mode",
    "apparmor_rules",
)
BIGGEST_JSON = (64 << 20) - 1
NO_CONFIGS = 'it has no object "lxc_configs" at its top.'
TOO_BIG = "it is 64 MiB or more; that is not a list of containers."
# Far from where Python gives up, which depends on who calls: a start would refuse what validate
# takes.
MOST_NESTING = 500
TOO_DEEP = f"objects and lists are nested more than {MOST_NESTING} deep."
# As the schema says it.
MOST_RULES, LONGEST_RULE = 500, 2000
# Without halves of characters (surrogates), which no file in UTF-8 can hold.
RULE = re.compile(r"^[^\u0000-\u001f\u007f#\ud800-\udfff]*[^\s,{\ud800-\udfff],(?!\n)$")
# Of an entry that is not used.
FIX = "Fix it in the JSON. To check: phoenix-apparmor validate"


class Assignment(NamedTuple):
    """What one container is assigned.

    name: as the JSON says it, "" if nothing good was ever said.
    policy_namespace: whether it may have one of its own, where its profile asks for it.
    trial: whether the profile only logs what it would refuse. rules: the container's own.
    problem: why today's entry cannot be used, "" if it can. With a name, that is the last
    good one.
    """

    name: str
    policy_namespace: bool = True
    problem: str = ""
    trial: bool = False
    rules: tuple[str, ...] = ()

    @property
    def profile(self) -> str | None:
        """Value of lxc.apparmor.profile; None: there is no such line."""
        return None if self.name in paths.NO_LINE else self.name

    @property
    def trouble(self) -> PhoenixError | None:
        """That today's entry is not used, and what is instead; None: it is."""
        if not self.problem:
            return None
        used = f" Its last good assignment is used: {self.name}." if self.name else ""
        return PhoenixError(f"{self.problem}.{used}", hint=FIX)

    def variants(self, ctid: str) -> tuple[str, ...]:
        """The profiles in the kernel under which the container runs; none without a profile."""
        if self.profile is None:
            return ()
        return lxcconf.variants(self.profile, ctid, trial=self.trial, rules=bool(self.rules))


def assignments(text: bytes) -> dict[str, Assignment]:
    """CTID -> Assignment of a phoenix_lxc_configs.json.

    An entry that breaks the schema costs only itself: it has a problem and no name.
    Raises PhoenixError if the whole cannot be read.
    """
    entries = document(text)["lxc_configs"]
    twice = entries.twice if isinstance(entries, Twice) else ()
    result = {}
    for ctid, entry in entries.items():
        bad = "the CTID appears twice in lxc_configs" if ctid in twice else problem(ctid, entry)
        if bad:
            result[ctid] = Assignment("", problem=bad)
        else:
            result[ctid] = Assignment(
                entry.get("apparmor_profile", paths.BASE),
                entry.get("apparmor_policy_namespace", True),
                trial=entry.get("apparmor_mode") == "trial",
                rules=tuple(entry.get("apparmor_rules", ())),
            )
    return result


def document(text: bytes, *, doubled: bool = False) -> Any:
    """The JSON document; a name that appears twice in an object marks it (Twice).

    doubled: whether lxc_configs itself may appear twice, for who shows both.
    Raises PhoenixError.
    """
    if len(text) > BIGGEST_JSON:
        raise PhoenixError(TOO_BIG)
    try:
        whole = json.loads(text.decode("utf-8-sig"), object_pairs_hook=_unique)
    except UnicodeDecodeError as error:
        raise PhoenixError(f"it is not UTF-8 (byte {error.start}).") from error
    except json.JSONDecodeError as error:
        from phoenix_apparmor.assignments import syntax  # only where it is needed: costs the start

        what, _, place = syntax.explain(error)
        raise PhoenixError(f"line {place.line}, column {place.column}: {what}") from error
    except RecursionError as error:
        raise PhoenixError(TOO_DEEP) from error
    except ValueError as error:
        raise PhoenixError(f"it is not JSON that can be read: {error}.") from error
    if not isinstance(whole, dict) or not isinstance(whole.get("lxc_configs"), dict):
        raise PhoenixError(NO_CONFIGS)
    if _is_deep(whole):
        raise PhoenixError(TOO_DEEP)
    if isinstance(whole, Twice) and "lxc_configs" in whole.twice and not doubled:
        raise PhoenixError("lxc_configs appears twice, and each may assign other containers.")
    return whole


def _is_deep(value: object) -> bool:
    """Whether objects and lists are nested deeper than MOST_NESTING."""
    level = [value]
    for _ in range(MOST_NESTING + 1):
        level = [
            child
            for outer in level
            for child in (outer.values() if isinstance(outer, dict) else outer)  # type: ignore[attr-defined]
            if isinstance(child, dict | list)
        ]
        if not level:
            return False
    return True


class Twice(dict[str, Any]):
    """An object in which a name appears more than once; such names are in twice."""

    twice: frozenset[str] = frozenset()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) == len(pairs):
        return result
    marked = Twice(result)
    left = set(result)
    twice = set()
    for key, _ in pairs:
        if key in left:
            left.remove(key)
        else:
            twice.add(key)
    marked.twice = frozenset(twice)
    return marked


def problem(ctid: str, entry: object) -> str:
    """What is wrong with a container's entry, one line; "" if nothing is.

    The same answer as phoenix_lxc_configs.schema.json gives (validate asks that, and tests
    compare the two): a start cannot wait for jsonschema, whose import costs ten interpreters.
    """
    if not paths.is_ctid(ctid):
        return explain_ctid(ctid)
    if not isinstance(entry, dict):
        return explain([], entry)
    for key in OUR_KEYS:
        if key not in entry:
            continue
        if isinstance(entry, Twice) and key in entry.twice:
            return f"{key} appears twice in the entry"
        value = entry[key]
        if key == "apparmor_rules":
            bad = _bad_rules(value)
        else:
            bad = "" if _is_right(key, value) else explain([key], value)
        if bad:
            return bad
    return ""


def _is_right(key: str, value: object) -> bool:
    if key == "apparmor_policy_namespace":
        return isinstance(value, bool)
    if key == "apparmor_mode":
        return value in ("enforce", "trial")
    return isinstance(value, str) and paths.is_profile(value)


def _bad_rules(value: object) -> str:
    key = "apparmor_rules"
    if not isinstance(value, list) or len(value) > MOST_RULES:
        return explain([key], value)
    for number, why in rule_problems({key: value}):
        return explain([key, number], why=why)
    for number, rule in enumerate(value):
        if not isinstance(rule, str) or len(rule) > LONGEST_RULE or not RULE.search(rule):
            return explain([key, number], rule)
    return ""


def explain_ctid(name: str) -> str:
    """What is wrong with the name of an entry."""
    return f"{_shown(name)} is not a valid CTID; a CTID is a number from 100 to 999999999"


def _shown(value: object) -> str:
    shown = one_line(json.dumps(value, ensure_ascii=False))
    return shown if len(shown) <= 60 else shown[:57] + "..."


def rule_problems(entry: Mapping[str, Any]) -> Iterable[tuple[int, str]]:
    """(number, what is wrong with it) of an entry's rules, as far as the schema takes them."""
    listed = entry.get("apparmor_rules")
    for number, rule in enumerate(listed if isinstance(listed, list) else ()):
        why = rules.problem(rule) if isinstance(rule, str) else ""
        if why:
            yield number, f"{one_line(json.dumps(rule, ensure_ascii=False))} {why}"


def explain(path: list[Any], value: object = None, *, why: str = "") -> str:
    """What is wrong at path below a container's entry, and what would be right."""
    shown = _shown(value)
    match path:
        case ["apparmor_profile", *_]:
            if isinstance(value, str) and value.startswith("lxc_"):
                return (
                    f"apparmor_profile {shown} is invalid: lxc-start may only change to names "
                    f'that begin with "lxc-". Rename it to "{value.replace("_", "-")}"'
                )
            return (
                f"apparmor_profile {shown} is invalid: it must be the name of a profile that "
                'begins with "lxc-", or "unconfined", or "generated"'
            )
        case ["apparmor_mode" | "apparmor_rules", *_]:
            return _explain_more(path, shown, why)
        case [key, *_]:
            return f"{key} is {shown}; it must be true or false"
    return f"the entry is {shown}; it must be an object"


def _explain_more(path: list[Any], shown: str, why: str) -> str:
    if path[0] == "apparmor_mode":
        return f'apparmor_mode is {shown}; it must be "enforce" or "trial"'
    if why:
        return f"apparmor_rules: the rule {why}"
    if len(path) == 1:
        return f"apparmor_rules is {shown}; it must be a list of rules, each a string"
    if shown.endswith(' ,"'):
        return f"apparmor_rules: the rule {shown} has a space before its final comma"
    if shown.startswith('"') and shown.endswith('"') and len(shown) > 2 and shown[-2] != ",":
        return f"apparmor_rules: the rule {shown} has no comma at its end"
    return (
        f"apparmor_rules: the rule {shown} is invalid: it must be a string, one AppArmor rule "
        'with its comma at the end, like "mount fstype=nfs,"'
    )


def remember(
    today: Mapping[str, Assignment], before: Mapping[str, Assignment]
) -> dict[str, Assignment]:
    """today, where a bad entry has its last good assignment from before."""
    merged = {}
    for ctid, assignment in today.items():
        last = before.get(ctid)
        if assignment.problem and last is not None:
            merged[ctid] = last._replace(problem=assignment.problem)
        else:
            merged[ctid] = assignment
    return merged


def write_copy(head: bytes, assigned: Mapping[str, Assignment]) -> bytes:
    """The text of the validated copy (see lastgood) below its head."""
    body = b"".join(_lines(assigned))
    return head + body + lastgood.end_mark(body)


def _lines(assigned: Mapping[str, Assignment]) -> Iterable[bytes]:
    for ctid, assignment in assigned.items():
        if not ctid.isascii() or not ctid.isdigit():
            continue  # reported when it was read; nothing can be started under such a name
        words = [ctid, assignment.name or "?"]
        if not assignment.policy_namespace:
            words.append("plain")
        if assignment.trial:
            words.append("trial")
        if assignment.rules:
            words.append("rules")
        if assignment.problem:
            words += ["!", one_line(assignment.problem)]
        yield " ".join(words).encode("utf-8", "backslashreplace") + b"\n"
        for rule in assignment.rules:
            yield f"{ctid}+ {rule}\n".encode("utf-8", "backslashreplace")


def read_line(line: str, rules: tuple[str, ...] = ()) -> Assignment:
    """The Assignment of what lastgood.line_of and lastgood.rules_of give."""
    before, _, problem = line.partition(" ! ")
    name, *words = before.split(" ")
    return Assignment(
        "" if name == "?" else name, "plain" not in words, problem, "trial" in words, rules
    )


def read_copy(text: bytes) -> dict[str, Assignment]:
    """CTID -> Assignment of a validated copy; empty if text is none."""
    if not lastgood.is_copy(text):
        return {}
    body = text[text.index(b"\n\n") + 2 :].decode("utf-8", "surrogateescape")
    found: dict[str, str] = {}
    own: dict[str, list[str]] = {}
    for line in body.split("\n"):
        ctid, separator, rest = line.partition(" ")
        if ctid.endswith("+"):
            own.setdefault(ctid[:-1], []).append(rest)
        elif ctid.isdigit() and separator:
            found[ctid] = rest
    return {c: read_line(rest, tuple(own.get(c, ()))) for c, rest in found.items()}
