"""Entries, keys and items put into a JSON: all else stays as it was written."""

import json
import random
from typing import Any

import pytest

from phoenix_apparmor.suggest import insert
from tests.names import BASE, DOCKER

NEW = {"100": {"name": "n", "apparmor_profile": BASE}, "101": {"apparmor_profile": DOCKER}}


def documents(number: int) -> list[str]:
    """Real-looking documents: any style of writing, any content beside."""
    draw = random.Random(number)

    def value(depth: int) -> Any:
        kind = draw.randrange(8 if depth else 5)
        flat = ['a, "b": {}', 7, True, None, 'é\\"日\n']
        if kind < 5:
            return flat[kind]
        size = draw.randrange(4)
        if kind == 5:
            return [value(depth - 1) for _ in range(size)]
        return {draw.choice('ab{},:"é\\') + str(n): value(depth - 1) for n in range(size)}

    found = []
    for _ in range(60):
        entries = {str(draw.randrange(200, 999)): value(2) for _ in range(draw.randrange(4))}
        entries = {c: e if isinstance(e, dict) else {"x": e} for c, e in entries.items()}
        whole = {"$schema": "x", "lxc_configs": entries, "more": value(3)}
        keys = draw.sample(list(whole), 3)
        indent = draw.choice([None, 0, 1, 2, 4, "\t"])
        separators = draw.choice([(",", ":"), (", ", ": "), None]) if indent is None else None
        text = json.dumps({k: whole[k] for k in keys}, indent=indent, separators=separators,
                          ensure_ascii=draw.random() < 0.5)  # fmt: skip
        text += draw.choice(["", "\n", "\n\n", " "])
        if draw.random() < 0.3:
            text = text.replace("\n", "\r\n")
        found.append(draw.choice(["", "", "\ufeff"]) + text)
    return found


@pytest.mark.parametrize("number", range(5))
def test_only_the_entries_are_new(number: int) -> None:
    for text in documents(number):
        old = text.encode()
        new = insert.insert(old, NEW)
        before = json.loads(old.decode("utf-8-sig"))
        after = json.loads(new.decode("utf-8-sig"))
        assert {c: after["lxc_configs"].pop(c) for c in NEW} == NEW
        assert after == before
        # One piece was put in, and nothing else changed.
        same = next((n for n, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), len(old))
        assert new.endswith(old[same:])
        assert insert.insert(new, NEW) == new
        # A document in lines stays one in lines.
        assert (b"\r\n" in old) == (b"\r\n" in new) or b"\n" not in old
        assert insert.set_key(new, "100", "name", None).count(b'"name"') == new.count(b'"name"') - 1


@pytest.mark.parametrize("number", range(5))
def test_one_key_is_set(number: int) -> None:
    for text in documents(number):
        old = insert.insert(text.encode(), NEW)
        whole = json.loads(old.decode("utf-8-sig"))
        rules = ["mount fstype=nfs,", '/x "y" rw,']
        new = insert.set_key(old, "101", "apparmor_rules", rules)
        whole["lxc_configs"]["101"]["apparmor_rules"] = rules
        assert json.loads(new.decode("utf-8-sig")) == whole
        newer = insert.set_key(new, "101", "apparmor_rules", rules[:1])
        whole["lxc_configs"]["101"]["apparmor_rules"] = rules[:1]
        assert json.loads(newer.decode("utf-8-sig")) == whole
        assert insert.set_key(newer, "101", "apparmor_rules", None) == old


@pytest.mark.parametrize("number", range(5))
def test_a_list_grows_at_its_end(number: int) -> None:
    for text in documents(number):
        old = insert.insert(text.encode(), NEW)
        whole = json.loads(old.decode("utf-8-sig"))
        rules = ["mount fstype=nfs,", '/x "y" rw,', "/é r,"]
        new = insert.add_items(old, "101", "apparmor_rules", rules[:2])
        assert new == insert.set_key(old, "101", "apparmor_rules", rules[:2])
        newer = insert.add_items(new, "101", "apparmor_rules", rules)
        whole["lxc_configs"]["101"]["apparmor_rules"] = rules
        assert json.loads(newer.decode("utf-8-sig")) == whole
        # one piece was put in
        same = next(n for n, (a, b) in enumerate(zip(new, newer, strict=False)) if a != b)
        assert newer.endswith(new[same:]) and (b"\n" in newer) == (b"\n" in new)
        assert insert.add_items(newer, "101", "apparmor_rules", rules) == newer
