"""The JSON -> assignments, and the validated copy of them."""

import json
import os
from typing import Any

import pytest

from phoenix_apparmor import lastgood
from phoenix_apparmor.assignments import parse
from phoenix_apparmor.assignments.parse import Assignment
from phoenix_apparmor.errors import PhoenixError
from tests.names import BASE


def assigned_by(entries: Any) -> dict[str, Assignment]:
    return parse.assignments(json.dumps({"lxc_configs": entries}).encode())


def test_each_kind_of_assignment() -> None:
    parsed = assigned_by(
        {
            "950": {"name": "x", "memory_mb": -1, "nonsense": [1]},
            "951": {"apparmor_profile": "lxc-mine.1"},
            "952": {"apparmor_profile": "unconfined"},
            "953": {"apparmor_profile": "generated"},
            "954": {"apparmor_profile": "lxc-d", "apparmor_policy_namespace": False},
        }
    )
    assert {ctid: a.profile for ctid, a in parsed.items()} == {
        "950": BASE,
        "951": "lxc-mine.1",
        "952": None,
        "953": None,
        "954": "lxc-d",
    }
    assert not any(a.problem for a in parsed.values())
    assert not parsed["954"].policy_namespace
    assert parsed["951"].policy_namespace


@pytest.mark.parametrize(
    "value",
    ["", "docker", "lxc_phoenix_v1", 7, None, [], "lxc-", "lxc-a\n", "lxc-a b", "../lxc-a",
     "lxc-a/b", "lxc-a//&b", ":lxc-a", "Unconfined", "lxc-ü", "lxc-" + "a" * 200, True],
)  # fmt: skip
def test_a_value_that_cannot_be_used_costs_only_its_container(value: object) -> None:
    parsed = assigned_by({"952": {"apparmor_profile": value}, "953": {}})
    assert parsed["953"] == Assignment(BASE)
    assert parsed["952"].name == ""
    problem = parsed["952"].problem
    assert "apparmor_profile" in problem
    assert json.dumps(value, ensure_ascii=False)[:50].rstrip('"')[:8] in problem
    assert "\n" not in problem


def test_underscore_name_is_told_what_would_be_right() -> None:
    problem = assigned_by({"952": {"apparmor_profile": "lxc_phoenix_v1"}})["952"].problem
    assert problem == (
        'apparmor_profile "lxc_phoenix_v1" is invalid: lxc-start may only change to names '
        'that begin with "lxc-". Rename it to "lxc-phoenix-v1"'
    )


@pytest.mark.parametrize(
    ("entries", "ctid", "words"),
    [
        ({"952": 7}, "952", "the entry is 7"),
        ({"952": None}, "952", "the entry is null"),
        ({"abc": {}}, "abc", "not a valid CTID"),
        ({"99": {}}, "99", "not a valid CTID"),
        ({"0952": {}}, "0952", "not a valid CTID"),
        ({"952\n": {}}, "952\n", "not a valid CTID"),
        ({"952": {"apparmor_policy_namespace": 1}}, "952", "true or false"),
    ],
)
def test_a_bad_entry_has_its_problem_in_words(entries: Any, ctid: str, words: str) -> None:
    assert words in assigned_by(entries)[ctid].problem


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "line 1, column 1"),
        (b'{"lxc_configs": {', "line 1"),
        (b"\xff{}", "not UTF-8 (byte 0)"),
        (b"[]", "no object"),
        (b"{}", "no object"),
        (b'{"lxc_configs": []}', "no object"),
        (b'{"lxc_configs": ' + b"[" * 100_000, "nested more than"),
        (b'{"lxc_configs": {"950": {"x": ' + b"9" * 5000 + b"}}}", "not JSON that can be read"),
        (b" " * (64 << 20), "64 MiB"),
    ],
    ids=["empty", "cut", "latin", "list", "no configs", "wrong type", "deep", "digits", "huge"],
)
def test_unreadable_as_a_whole(text: bytes, words: str) -> None:
    with pytest.raises(PhoenixError, match=words.replace("(", r"\(").replace(")", r"\)")):
        parse.assignments(text)


def test_a_byte_order_mark_is_read_over() -> None:
    assert "950" in parse.assignments(b'\xef\xbb\xbf{"lxc_configs": {"950": {}}}')


def test_a_key_that_stands_twice_is_no_choice() -> None:
    text = b"""{"lxc_configs": {
        "950": {"apparmor_profile": "lxc-a", "apparmor_profile": "unconfined"},
        "951": {}, "951": {"apparmor_profile": "unconfined"},
        "952": {"name": "a", "name": "b"}}}"""
    parsed = parse.assignments(text)
    assert "twice" in parsed["950"].problem
    assert "twice" in parsed["951"].problem
    assert parsed["952"].name == BASE


def test_the_copy_gives_back_what_it_got() -> None:
    all_kinds = {
        "950": Assignment("lxc-a"),
        "951": Assignment("unconfined"),
        "952": Assignment("lxc-a", policy_namespace=False),
        "953": Assignment("lxc-a", policy_namespace=False, problem="is ! bad plain ?"),
        "954": Assignment("", problem='line\nbreak "ü" \udc80'),
        "100": Assignment("lxc-z"),
    }
    head = lastgood.identity("/etc/x\n.json".replace("\n", "ü"), os.stat("/"), 1)
    text = parse.write_copy(head, all_kinds)
    assert lastgood.is_copy(text)
    back = parse.read_copy(text)
    assert back.keys() == all_kinds.keys()
    for ctid, assignment in all_kinds.items():
        line = lastgood.line_of(text, ctid)
        assert line is not None
        assert parse.read_line(line) == back[ctid]
        assert back[ctid].name == assignment.name
        assert back[ctid].policy_namespace == assignment.policy_namespace
    assert back["953"].problem == "is ! bad plain ?"
    assert "\n" not in back["954"].problem
    assert lastgood.line_of(text, "95") is None
    assert lastgood.line_of(text, "0") is None
    assert lastgood.source_of(text) == "/etc/xü.json"


def test_a_copy_cut_short_is_no_copy() -> None:
    text = parse.write_copy(
        lastgood.identity("/etc/x", os.stat("/"), 1), {"950": Assignment("lxc-a")}
    )
    for cut in range(len(text)):
        assert not lastgood.is_copy(text[:cut]), text[:cut]
        assert not lastgood.is_current(text[:cut], "/etc/x", os.stat("/"))
    assert not lastgood.is_current(text[:-3], "/etc/x", os.stat("/"))
    assert parse.read_copy(text[:-3]) == {}


def test_current_is_only_what_has_not_changed_for_a_while(tmp_path: Any) -> None:
    file = tmp_path / "j"
    file.write_text("x")
    seen = file.stat()
    newest = max(seen.st_mtime_ns, seen.st_ctime_ns)
    settled = parse.write_copy(lastgood.identity("/j", seen, newest + lastgood.SETTLED_NS + 1), {})
    assert lastgood.is_current(settled, "/j", seen)
    assert not lastgood.is_current(settled, "/k", seen)
    racy = parse.write_copy(lastgood.identity("/j", seen, newest + lastgood.SETTLED_NS), {})
    assert not lastgood.is_current(racy, "/j", seen), "may change once more within its second"
    assert lastgood.is_current(racy, "/j", seen, newest), "read after the caller began"
    assert not lastgood.is_current(racy, "/j", seen, newest + lastgood.SETTLED_NS + 1)
    file.write_text("yy")
    assert not lastgood.is_current(settled, "/j", file.stat())


def test_a_bad_entry_keeps_its_last_good_assignment() -> None:
    before = {"950": Assignment("lxc-a"), "951": Assignment("", problem="old")}
    today = {
        "950": Assignment("", problem="bad"),
        "951": Assignment("", problem="bad"),
        "952": Assignment("", problem="bad"),
    }
    merged = parse.remember(today, before)
    assert merged["950"] == Assignment("lxc-a", problem="bad")
    assert merged["951"].name == merged["952"].name == ""
    again = parse.remember(today, merged)
    assert again["950"].name == "lxc-a", "also the second time"


def test_a_name_that_is_no_number_never_gets_into_the_copy() -> None:
    """A start looks lines up by their text."""
    evil = Assignment("lxc-evil")
    names = ["952", "\uff19\uff15\uff13", "x\n953 lxc-evil\n", "953+", "", " 953", "952 x", "-953"]
    text = parse.write_copy(b"h\n\n", dict.fromkeys(names, evil))
    assert text == b"h\n\n952 lxc-evil\n" + lastgood.end_mark(b"952 lxc-evil\n")


def test_what_appears_twice_matters_only_where_it_is_ours() -> None:
    twice = b'{"lxc_configs": {"952": {}}, "lxc_configs": {"953": {}}}'
    with pytest.raises(PhoenixError, match="lxc_configs appears twice"):
        parse.document(twice)
    assert parse.document(twice, doubled=True)["lxc_configs"] == {"953": {}}
    assert parse.document(b'{"x": 1, "x": 2, "lxc_configs": {}}')["x"] == 2
    assert parse.assignments(twice.replace(b'"lxc_configs": {"953"', b'"y": {"953"')) == {
        "952": Assignment(BASE)
    }
    other = b'{"lxc_configs": {"952": {"name": 1, "name": 2, "apparmor_profile": "lxc-x"}}}'
    assert parse.assignments(other) == {"952": Assignment("lxc-x")}
    ours = other.replace(b"name", b"apparmor_profile", 2)
    assert "apparmor_profile appears twice" in parse.assignments(ours)["952"].problem
    container = b'{"lxc_configs": {"952": {}, "953": {}, "952": {}}}'
    found = parse.assignments(container)
    assert "the CTID appears twice" in found["952"].problem and not found["953"].problem


def wrong(**entry: Any) -> str:
    return parse.problem("952", entry)


LIST = "it must be a list of rules, each a string"
STRING = "it must be a string, one AppArmor rule with its comma at the end"


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        (7, f"apparmor_rules is 7; {LIST}"),
        ("umount,", f'apparmor_rules is "umount,"; {LIST}'),
        ({}, LIST),
        (None, LIST),
        ([], ""),
        (["umount,"] * 500, ""),
        (["umount,"] * 501, LIST),
        ([7], f"the rule 7 is invalid: {STRING}"),
        (["umount,", "umount"], 'the rule "umount" has no comma at its end'),
        (["umount, umount,"], "is more than one rule"),
        (["priority=10 /proc/sys/kernel/core_pattern w,"], "has a priority"),
        (["audit priority=+1 allow mount,"], "has a priority"),
        (["priority=10 deny /x w,"], ""),
        (["/x/priority=1 w,"], ""),
        (["/" + "x" * 1995 + " rw,"], ""),
        (["/" + "x" * 1996 + " rw,"], STRING),
        ([""], STRING),
        (["umount,\n"], "has no comma at its end"),
        (["umount, # no,"], STRING),
    ],
)
def test_rules_of_an_entry(rules: Any, words: str) -> None:
    problem = wrong(apparmor_rules=rules)
    assert words in problem and bool(problem) is bool(words)


def test_other_keys_of_an_entry() -> None:
    assert parse.problem("952", []) == "the entry is []; it must be an object"
    assert "is not a valid CTID" in parse.problem("95", {})
    assert wrong(apparmor_policy_namespace=True) == wrong(apparmor_policy_namespace=False) == ""
    value: Any
    for value in (1, 0, "true", None):
        assert "it must be true or false" in wrong(apparmor_policy_namespace=value)
    assert wrong(apparmor_mode="trial") == wrong(apparmor_mode="enforce") == ""
    for value in (True, "Trial", None):
        assert 'it must be "enforce" or "trial"' in wrong(apparmor_mode=value)
    assert wrong(apparmor_profile="lxc-a") == wrong() == wrong(other=7) == ""
    assert 'Rename it to "lxc-a-b"' in wrong(apparmor_profile="lxc_a_b")
    assert "Rename" not in wrong(apparmor_profile="docker") + wrong(apparmor_profile=7)
    assert "Rename" not in wrong(apparmor_profile=["lxc_a"])


def test_long_values_are_cut_where_they_are_shown() -> None:
    assert '"' + "x" * 58 + '"; it' in wrong(apparmor_mode="x" * 58)
    assert '"' + "x" * 56 + "...; it" in wrong(apparmor_mode="x" * 59)
    assert '"\N{LATIN SMALL LETTER E WITH ACUTE}"' in wrong(apparmor_mode="\u00e9")
    assert '"\N{LATIN SMALL LETTER E WITH ACUTE} x," begins with' in wrong(
        apparmor_rules=["\u00e9 x,"]
    )


def test_a_line_of_the_copy_is_read_as_it_was_written() -> None:
    read = parse.read_line
    assert read("lxc-a") == Assignment("lxc-a")
    assert read("lxc-a plain trial rules", ("x,",)) == Assignment(
        "lxc-a", policy_namespace=False, trial=True, rules=("x,",)
    )
    assert read("lxc-a trial ! plain ! x") == Assignment("lxc-a", problem="plain ! x", trial=True)
    assert read("? ! why") == Assignment("", problem="why")
    bad = {"952": Assignment("", problem="why\nnot")}
    assert parse.write_copy(b"", bad).startswith(b"952 ? ! why\\nnot\nend ")
    assert parse.remember(bad, bad) == bad == parse.remember(bad, {})
    assert parse.read_copy(b"garbage\n\n952 lxc-a\n") == {}
    body = b"952 lxc-a rules\n952+ a b,\n952+ c,\nx y\n953\n954 lxc-b\n955+ left,\n"
    text = lastgood.FIRST_LINE + b"x\n\n" + body + lastgood.end_mark(body)
    assert parse.read_copy(text) == {
        "952": Assignment("lxc-a", rules=("a b,", "c,")),
        "954": Assignment("lxc-b"),
    }


def test_variants_of_an_assignment() -> None:
    assert Assignment("unconfined").profile is Assignment("generated").profile is None
    assert Assignment("unconfined", trial=True).variants("952") == ()
    assert Assignment("lxc-a").variants("952") == ("lxc-a",)
    assert Assignment("lxc-a", rules=("x,",)).variants("952") == ("lxc-a.952",)
    assert Assignment("lxc-a", trial=True).variants("952") == ("lxc-a.952.trial", "lxc-a.guard")
    plain = Assignment("lxc-a")
    assert (plain.policy_namespace, plain.problem, plain.trial, plain.rules) == (
        True,
        "",
        False,
        (),
    )
