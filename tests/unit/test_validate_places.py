"""validate: where in the text each thing that is wrong is said to be."""

import json
import random
from typing import Any

import pytest

from phoenix_apparmor.assignments import lookup, parse, positions, validate
from phoenix_apparmor.errors import PhoenixError


def values(document: Any, path: positions.Path = ()) -> dict[positions.Path, Any]:
    result = {path: document}
    if isinstance(document, dict):
        for key, value in document.items():
            result |= values(value, (*path, key))
    if isinstance(document, list):
        for index, value in enumerate(document):
            result |= values(value, (*path, index))
    return result


def some_document(chance: random.Random, depth: int = 0) -> Any:
    kind = chance.choice("snblod" if depth < 4 else "snbl")
    strings = ["", "a", 'q"u', "back\\slash", "é日", "{[,]}:", "\n", "x" * 9]
    if kind == "o":
        keys = chance.sample(strings, chance.randint(0, 4))
        return {key: some_document(chance, depth + 1) for key in keys}
    if kind == "d":
        return [some_document(chance, depth + 1) for _ in range(chance.randint(0, 4))]
    return {"s": chance.choice(strings), "n": -1.5e3, "b": True, "l": None}[kind]


def test_positions_against_json() -> None:
    """What stands at each place is just the value that json finds by its path."""
    chance = random.Random(7)
    for _ in range(300):
        document = some_document(chance)
        indent = chance.choice([None, 1, "\t"])
        text = json.dumps(document, indent=indent, ensure_ascii=chance.random() < 0.5)
        found = positions.spans(text)
        expected = values(document)
        assert found.keys() == expected.keys()
        for path, (span,) in found.items():
            assert json.loads(text[span.value : span.value_end]) == expected[path]
            if path and isinstance(path[-1], str):
                assert json.loads(text[span.name : span.name_end]) == path[-1]


@pytest.mark.parametrize(
    "text",
    [
        '{"lxc_configs": {"950": {},}}',
        '{"lxc_configs": {"950": {},\n}}',
        '\ufeff{"lxc_configs":\n {"950": {}, # x\n}}',
        "{'lxc_configs': {}}",
        '{"lxc_configs": {',
        '{"lxc_configs": {"950": {} "951": {}}}',
        '{"lxc_configs": {}}}',
        "",
    ],
)
def test_a_syntax_error_is_in_one_place_for_all_who_tell_it(text: str) -> None:
    """Python 3.11 points behind a trailing comma, 3.13 at it; a person looks for the comma."""
    [finding] = validate.findings(text.encode(), {})
    with pytest.raises(PhoenixError) as raised:
        parse.document(text.encode())
    place = finding.place
    assert raised.value.what == f"line {place.line}, column {place.column}: {finding.what}"
    if ",}" in text:
        assert text[place.column - 1] == ","


@pytest.mark.parametrize(
    ("text", "place", "said", "hint"),
    [
        (
            '{"lxc_configs": {"950": {"x": 01}}}',
            (1, 31),
            "must not begin with 0",
            'Write 1, or "01"',
        ),
        ('{"lxc_configs": {"950": {"x": -007}}}', (1, 31), "must not begin with 0", "Write -7"),
        ('{"lxc_configs": {"950": {"x": 5G}}}', (1, 31), "5G is neither", 'quotes: "5G"'),
        ('{"lxc_configs": {"950": {"x": lxc-a}}}', (1, 31), "lxc-a is neither", '"lxc-a"'),
        ('{"lxc_configs": {"950": {"x": True}}}', (1, 31), "JSON has no True", "Write true."),
        ('{"lxc_configs": {"950": {"x": "a"; "y": 1}}}', (1, 34), "a ; where", ", instead of ;"),
        ('{"lxc_configs": {"950": {"x" = "a"}}}', (1, 30), 'a ":" must be', ": instead of ="),
        ('{"lxc_configs": {"950": {"x": "a "b""}}}', (1, 35), "ends at the double quote", '\\"'),
        ('{"lxc_configs": {"950": {"a"b": 1}}}', (1, 29), "ends at the double quote", '\\"'),
        ('{"lxc_configs": {"950": {"x": [1}}}', (1, 33), "] is missing before it", ""),
        ('{"lxc_configs": {"950": {"x": "a" "y": 1}}}', (1, 35), "is missing", "in front of this"),
        ('{"lxc_configs": {"950": {\n"x": 1\n\n"y": 1}}}', (4, 1), "missing", "end of line 2."),
    ],
)
def test_a_syntax_error_is_told_where_it_is(
    text: str, place: tuple[int, int], said: str, hint: str
) -> None:
    (found,) = validate.findings(text.encode(), lookup.schema())
    assert (found.place.line, found.place.column) == place, found
    assert said in found.what and hint in found.hint, found
    assert ("end of line" in found.hint) == ("\n" in text)


@pytest.mark.parametrize(
    ("text", "path", "hint"),
    [
        ('{"a": 1, "lxc_config": {"950": {}}}', ".lxc_config", "Did you mean"),
        ('{"a": 1, "LXC-Configs": {"950": {}}}', '["LXC-Configs"]', "Did you mean"),
        ('{"a": 1, "lxc_configs": [{"ctid": 950}]}', ".lxc_configs", "It must be like"),
        ('{"a": 1, "containers": {"950": {}}}', ".", "It must be like"),
        ("[]", ".", "It must be like"),
    ],
)
def test_without_lxc_configs_its_place_is_told(text: str, path: str, hint: str) -> None:
    (found,) = validate.findings(text.encode(), lookup.schema())
    assert found.severity == "error" and hint in found.hint
    column = {".": 1, ".lxc_configs": 25}.get(path, 10)
    assert found.path.endswith(path) and found.place.column == column


def test_keys_at_the_top_that_nothing_reads() -> None:
    beside = (
        '"apparmor_profile": "x", "apparmor-mode": "trial", "950": {}, "lxc_config": {}, "z": 1'
    )
    found = validate.findings(f'{{{beside}, "lxc_configs": {{}}}}'.encode(), lookup.schema())
    assert [(f.severity, f.place.column) for f in found] == [
        ("warning", beside.index(f'"{key}"') + 2)
        for key in ("apparmor_profile", "apparmor-mode", "950", "lxc_config")
    ]
