"""What is wrong in a phoenix_lxc_configs.json, each with its place. Pure: text in, findings out.

The start of a container asks parse.assignments, which answers as quickly as it can; this finds
the same errors (tests compare the two), all of them, with line and column, for a person.
"""

import codecs
import difflib
import json
import re
from collections.abc import Collection, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from phoenix_apparmor import paths
from phoenix_apparmor.assignments import parse, rules, syntax
from phoenix_apparmor.assignments.finding import Finding, Where, in_order, shorten
from phoenix_apparmor.assignments.parse import Twice
from phoenix_apparmor.assignments.positions import Lines, Path, Place
from phoenix_apparmor.assignments.verdicts import Judge, by_text
from phoenix_apparmor.errors import PhoenixError

# What each key that needs a profile is without being written.
DEFAULTS: Mapping[str, object] = {
    "apparmor_mode": "enforce", "apparmor_rules": [], "apparmor_policy_namespace": True,
}  # fmt: skip
MEANT_CONFIGS = 'Did you mean "lxc_configs"?'
KINDS: Mapping[type, str] = {
    list: "a list", str: "a text", bool: "true or false", type(None): "null",
}  # fmt: skip


class Names(NamedTuple):
    """Names of profiles.

    known: all that are known, for a did-you-mean.
    here: those that this host has, in files or in the kernel; None: the JSON is for another
    host, so that nothing can be said.
    made: of those in the kernel, the ones that were made for a container while it runs, and of
    which: no file holds them, and with the container they go.
    """

    known: Collection[str] = paths.SHIPPED
    here: Collection[str] | None = None
    made: Mapping[str, str] = MappingProxyType({})


def findings(
    text: bytes,
    schema: Mapping[str, Any],
    names: Names = Names(),  # noqa: B008  (a NamedTuple cannot change)
    judge: Judge = by_text,
) -> list[Finding]:
    """All that is wrong, in the order of the text.

    schema: of the AppArmor part, whose breaches are errors. judge: of the containers' rules.
    """
    try:
        document = parse.document(text, doubled=True)
    except PhoenixError as error:
        return [_unreadable(text, error)]
    decoded = text.decode("utf-8-sig")
    where = Where(decoded)
    found = [*_twice(document, where), *_errors(document, schema, names, where)]
    found += [*_rule_errors(document, where)]
    found += [*_warnings(document, names, where), *_rule_warnings(document, where, judge)]
    told = {(one.place, one.path) for one in found}
    found += [one for one in _only_read_here(text, where) if (one.place, one.path) not in told]
    return in_order(found)


def _unreadable(text: bytes, error: PhoenixError) -> Finding:
    """The document cannot be read at all: a syntax error has a place."""
    decoded = text.decode("utf-8-sig", "replace")
    cause = error.__cause__
    if isinstance(cause, json.JSONDecodeError):
        lines = Lines(cause.doc)
        said, hint, place = syntax.explain(cause)
        return Finding("error", place, "", "", said, hint, lines.line(place.line))
    if isinstance(cause, UnicodeDecodeError):
        begin = len(text[: cause.start].decode("utf-8-sig"))
        place = Lines(decoded).place(begin, begin + 1)
        what = f"it is not UTF-8: byte 0x{text[cause.start]:02x}."
        hint = "Save it as UTF-8."
        return Finding("error", place, "", "", what, hint, Lines(decoded).line(place.line))
    if error.what == parse.NO_CONFIGS:
        return _no_configs(text.decode("utf-8-sig"))
    return Finding("error", Place(1, 1, 1), ".", "", error.what, error.hint, Lines(decoded).line(1))


def _no_configs(text: str) -> Finding:
    """That there is no object lxc_configs: another kind of value, another name, or nothing."""
    document, where = json.loads(text), Where(text)
    like = 'It must be like: {"lxc_configs": {"952": {"apparmor_profile": "lxc-…"}}}'
    if not isinstance(document, dict):
        return where.finding("error", (), parse.NO_CONFIGS, like)
    if "lxc_configs" in document:
        value = document["lxc_configs"]
        what = f"lxc_configs is {KINDS.get(type(value), 'a number')}; it must be an object."
        return where.finding("error", ("lxc_configs",), what, like)
    meant = next((key for key in document if _is_slip(key, "lxc_configs")), None)
    if meant is None:
        return where.finding("error", (), parse.NO_CONFIGS, like)
    return where.finding("error", (meant,), parse.NO_CONFIGS, MEANT_CONFIGS, at_name=True)


def _is_slip(key: str, name: str) -> bool:
    """Whether a key is that name but for a slip."""
    folded = key.strip().lower().replace("-", "_")
    return key != name and bool(difflib.get_close_matches(folded, [name], 1, 0.85))


def _twice(document: Any, where: Where) -> Iterator[Finding]:
    """Names that appear twice in one object, where that matters to us."""
    entries = document["lxc_configs"]
    if isinstance(document, Twice) and "lxc_configs" in document.twice:
        yield from _each(where, ("lxc_configs",), "lxc_configs appears twice.")
    if isinstance(entries, Twice):
        for ctid in entries.twice:
            yield from _each(where, ("lxc_configs", ctid), f"CTID {ctid} appears twice.")
    for ctid, entry in entries.items():
        if isinstance(entry, Twice):
            for key in set(entry.twice) & set(parse.OUR_KEYS):
                yield from _each(where, ("lxc_configs", ctid, key), f"{key} appears twice.")


NOT_READ = "other programs cannot read the document."


def _only_read_here(text: bytes, where: Where) -> Iterator[Finding]:
    """What is read here, and a syntax error to others (Perl, Proxmox'; Python without utf-8-sig).

    Numbers that are none in JSON, halves of characters, and a byte order mark.
    """
    if text.startswith(codecs.BOM_UTF8):
        what = f"the file begins with a byte order mark (BOM): {NOT_READ}"
        mark = where.finding("warning", (), what, 'Save it as "UTF-8 without BOM".')
        yield mark._replace(place=Place(1, 1, 1), value="")
    for path in where.constants():
        what = f"JSON has no such value: {NOT_READ}"
        yield where.finding("warning", path, what, "Write a number, null or a string.")
    for path, at_name in where.halves():
        what = f"a \\u… of half a character: {NOT_READ}"
        hint = "Write the character itself, or both halves."
        yield where.finding("warning", path, what, hint, at_name=at_name)


def _each(where: Where, path: Path, what: str) -> Iterator[Finding]:
    for number in range(len(where.spans(path))):
        yield where.finding("error", path, what, "Remove one of them.", at_name=True, number=number)


def _errors(
    document: Any, schema: Mapping[str, Any], names: Names, where: Where
) -> Iterator[Finding]:
    from jsonschema import Draft7Validator

    for error in Draft7Validator(schema).iter_errors(document):
        path: Path = tuple(error.absolute_path)
        value = error.instance
        if len(path) < 2:
            # propertyNames reports a bad name at the object that has it
            what = f"{parse.explain_ctid(str(value))}."
            yield where.finding("error", (*path, str(value)), what, at_name=True)
            continue
        what = f"{parse.explain(list(path[2:]), value)}."
        hint = ""
        if path[2:3] == ("apparmor_profile",) and isinstance(value, str):
            hint = did_you_mean(value, names.known)
        yield where.finding("error", path, what, hint, value=value)


def _rules(document: Any) -> Iterator[tuple[Path, str, dict[str, Any]]]:
    """(path, rule, entry) of each container's own rules."""
    for ctid, entry in document["lxc_configs"].items():
        listed = entry.get("apparmor_rules") if isinstance(entry, dict) else None
        for number, rule in enumerate(listed if isinstance(listed, list) else ()):
            if isinstance(rule, str):
                yield ("lxc_configs", ctid, "apparmor_rules", number), rule, entry


def _rule_errors(document: Any, where: Where) -> Iterator[Finding]:
    """Rules that are not one rule each."""
    for path, rule, _ in _rules(document):
        why = rules.problem(rule)
        if why:
            yield where.finding("error", path, f"the rule {why}.", value=rule)


def _rule_warnings(document: Any, where: Where, judge: Judge) -> Iterator[Finding]:
    """Rules that open a hole or do nothing, and a trial or rules that nothing can come of."""
    for path, rule, entry in _rules(document):
        profile = entry.get("apparmor_profile", paths.BASE)
        of = profile if isinstance(profile, str) else ""
        all_of = [one for one in entry["apparmor_rules"] if isinstance(one, str)]
        # what is no rule, without its comma too, is only told so
        is_one = not parse.problem("100", {"apparmor_rules": [rule]})
        for verdict in judge(rule, str(path[1]), of, all_of) if is_one else ():
            yield where.finding("warning", path, verdict.what, verdict.hint, value=rule)
    for ctid, entry in document["lxc_configs"].items():
        if not isinstance(entry, dict) or entry.get("apparmor_profile") not in paths.NO_LINE:
            continue
        for key, usual in DEFAULTS.items():
            if entry.get(key, usual) not in (None, usual):
                what = f"{key} does nothing for {entry['apparmor_profile']}: it needs a profile."
                yield where.finding("warning", ("lxc_configs", ctid, key), what, at_name=True)


def _warnings(document: Any, names: Names, where: Where) -> Iterator[Finding]:
    """What the schema allows and is hardly meant."""
    yield from _at_top(document, where)
    for ctid, entry in document["lxc_configs"].items():
        if not isinstance(entry, dict):
            continue
        path: Path = ("lxc_configs", ctid)
        for key in entry:
            meant = next((name for name in parse.OUR_KEYS if _is_slip(key, name)), None)
            if key not in parse.OUR_KEYS and meant:
                what = f'nothing reads the key "{shorten(key)}".'
                hint = f'Did you mean "{meant}"?'
                yield where.finding("warning", (*path, key), what, hint, at_name=True)
        yield from _unknown_name(entry.get("apparmor_profile"), path, names, where)
        yield from _fighting_options(entry.get("lxc_options"), path, where)


def _at_top(document: Any, where: Where) -> Iterator[Finding]:
    """What is read in lxc_configs or in an entry, and stands beside lxc_configs."""
    for key, value in document.items():
        ours = any(key == name or _is_slip(key, name) for name in parse.OUR_KEYS)
        hint = ""
        if ours:
            hint = "It belongs in the entry of each container that it is for."
        elif paths.is_ctid(key) and isinstance(value, dict):
            hint = "The entry of a container belongs in lxc_configs."
        elif _is_slip(key, "lxc_configs"):
            hint = "Only lxc_configs is read. Put its entries there."
        if hint:
            what = f'nothing reads the key "{shorten(key)}" here.'
            yield where.finding("warning", (key,), what, hint, at_name=True)


def _unknown_name(name: object, path: Path, names: Names, where: Where) -> Iterator[Finding]:
    """A profile that this host does not have; of another host's JSON, one that looks mistyped."""
    if not isinstance(name, str) or name in paths.NO_LINE or not paths.is_profile(name):
        return
    hint = did_you_mean(name, names.known)
    if name in names.made:
        what = f'"{shorten(name)}" is made for a container while it runs: no file holds it.'
        hint = f'Assign "{names.made[name]}".'
        yield where.finding("warning", (*path, "apparmor_profile"), what, hint, value=name)
    elif names.here is None:
        if name not in names.known and _is_mistyped(name, names.known):
            what = f'"{shorten(name)}" looks mistyped: no profile of that name is known here.'
            yield where.finding("warning", (*path, "apparmor_profile"), what, hint, value=name)
    elif name not in names.here:
        what = f'this host has no profile "{shorten(name)}": the container would not start.'
        hint = hint or "To list all: phoenix-apparmor status"
        yield where.finding("warning", (*path, "apparmor_profile"), what, hint, value=name)


def _is_mistyped(name: str, known: Collection[str]) -> bool:
    """Whether a name is a known one but for a slip; one that goes on (-base2) is meant."""
    folded = name.lower().replace("_", "-")
    close = difflib.get_close_matches(folded, list(known), 1, 0.9)
    return bool(close) and not (close[0] != folded and folded.startswith(close[0]))


# LXC's names of what the key says.
FIGHTING = re.compile(r"\s*(lxc\.apparmor\.profile|lxc\.aa_profile)\s*[=:]")


def _fighting_options(options: object, path: Path, where: Where) -> Iterator[Finding]:
    """A profile line among the options that other tools write into .conf: it fights the key."""
    for number, option in enumerate(options if isinstance(options, list) else ()):
        if isinstance(option, str) and FIGHTING.match(option):
            yield where.finding(
                "warning",
                (*path, "lxc_options", number),
                "this also sets a profile and conflicts with apparmor_profile.",
                "Remove it: apparmor_profile alone sets the profile.",
                value=option,
            )


def did_you_mean(name: str, known: Collection[str]) -> str:
    """The known name that a wrong one is most like, as a question; "" if none is."""
    folded = name.strip().lower().replace("_", "-")
    # of a stack the profile is the first one; the start adds what is stacked on it
    outer = folded.partition("//")[0].rpartition("/")[2]
    meant = difflib.get_close_matches(outer, list(known), 1, 0.7)
    if not meant and _is_no_line(folded):
        meant = difflib.get_close_matches(folded, paths.NO_LINE, 1, 0.85)
    return f'Did you mean "{meant[0]}"?' if meant and meant[0] != name else ""


def _is_no_line(folded: str) -> bool:
    """Whether a name may be one of NO_LINE with a slip: a wrong guess would free a container."""
    return re.fullmatch(r"un-?[a-z]+|g[a-z]+", folded) is not None
