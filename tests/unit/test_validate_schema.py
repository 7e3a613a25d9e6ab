"""validate with a full schema: that of an option, or the one that the document names."""

import json
from pathlib import Path

import pytest

from tests.unit.fakehost import REPO, FakeHost
from tests.unit.golden import assert_golden

GOOD = '{"lxc_configs": {"950": {}, "951": {"apparmor_profile": "lxc-nvidia-gpu-docker"}}}'


def write(tmp_path: Path, text: str | bytes, name: str = "x.json") -> str:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


FULL = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "properties": {
        "lxc_configs": {
            "additionalProperties": {
                "additionalProperties": False,
                "properties": {"apparmor_profile": {"type": "string"}, "cores": {"minimum": 1}},
            }
        }
    },
}


def test_full_schema_gives_warnings(host: FakeHost, tmp_path: Path) -> None:
    text = '{"lxc_configs": {\n  "950": {"cores": 0},\n  "951": {"x": 1}\n}}\n'
    schema = write(tmp_path, json.dumps(FULL), "full.schema.json")
    file = write(tmp_path, text)
    assert host.cli("validate", file).out == f"{file}: valid; 2 containers.\n"
    done = host.cli("validate", file, "--schema", schema)
    assert_golden("validate-full-schema.txt", done.out, tmp_path)
    assert done.status == 0
    # what is an error already is not told twice
    twice = write(tmp_path, '{"lxc_configs": {"950": {"apparmor_profile": 7}}}', "twice.json")
    assert "1 error, 0 warnings" in host.cli("validate", twice, "--schema", schema).out
    # the document's own $schema, relative to it
    own = write(tmp_path, '{"$schema": "./full.schema.json", ' + text[1:], "own.json")
    assert "2 warnings" in host.cli("validate", own).out
    gone = write(tmp_path, '{"$schema": "./no.json", ' + text[1:], "gone.json")
    done = host.cli("validate", gone)
    assert done.status == 0 and "no.json: No such file" in done.out
    assert "Nothing was checked against it." in done.out and "right" not in done.out
    assert host.cli("validate", "--strict", gone).status == 1
    assert json.loads(host.cli("validate", "--strict", "--json", gone).out)["fine"] is False


def test_real_file_and_its_full_schema(host: FakeHost) -> None:
    """Where the shared samples are: a real file breaks its own schema and is right for us."""
    samples = REPO.parent / "shared/samples"
    if not samples.exists():
        pytest.skip("no shared samples here")
    file = str(samples / "phoenix_lxc_configs.json")
    schema = str(samples / "phoenix_lxc_configs.schema.json")
    done = host.cli("validate", file)
    assert "0 errors, 1 warning." in done.out and "the schema that it names is not used" in done.out
    assert "0 errors, 4 warnings." in host.cli("validate", file, "--schema", schema).out
    underscores = str(samples / "phoenix_lxc_configs.underscore-names.json")
    done = host.cli("validate", underscores)
    assert "15 errors" in done.out and 'Rename it to "lxc-phoenix-v1".' in done.out


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ('{"$ref": "http://127.0.0.1:9/x.json"}', 'refers to "http://127.0.0.1:9/x.json"'),
        ('{"type": 7}', "it is not a JSON schema"),
        ("[]", "it is not an object"),
        ("{", "is not JSON"),
        (
            '{"properties": {"lxc_configs": {"propertyNames": {"pattern": "("}}}}',
            "it is not a JSON schema",
        ),
        ('{"$ref": "#/nowhere"}', "it is not a JSON schema that can be used"),
        ('{"$ref": "#"}', "refers to itself"),
        (None, "No such file"),
    ],
)
def test_schema_that_cannot_be_used(
    host: FakeHost, tmp_path: Path, schema: str | None, said: str
) -> None:
    name = str(tmp_path / "none") if schema is None else write(tmp_path, schema, "s.json")
    """The document's own errors are told all the same; of its own $schema it is a warning."""
    bad = GOOD.replace('{"950": {}', '{"950": {"apparmor_profile": 7}')
    file = write(tmp_path, bad)
    done = host.cli("validate", file, "--schema", name)
    assert done.status == 1 and said in done.err and "Traceback" not in done.err
    assert "apparmor_profile 7 is invalid" in done.out
    own_schema = "s.json" if schema is not None else "none"
    own = write(tmp_path, f'{{"$schema": "{own_schema}", ' + GOOD[1:], "own.json")
    done = host.cli("validate", own)
    assert (done.status, done.err) == (0, "")
    assert said in done.out and ': warning: .["$schema"]: ' in done.out
    assert "0 errors, 1 warning." in done.out
