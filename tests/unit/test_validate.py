"""validate: the real command, whole outputs in golden files; positions against json itself."""

import json
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest

from phoenix_apparmor import paths
from phoenix_apparmor.assignments import lookup, parse, positions, validate
from phoenix_apparmor.errors import PhoenixError
from tests.names import BASE, DOCKER, JSON
from tests.unit.fakehost import PYTHON, REPO, FakeHost
from tests.unit.golden import assert_golden
from tests.unit.status_host import on_terminal, validated

GOOD = '{"lxc_configs": {"950": {}, "951": {"apparmor_profile": "lxc-nvidia-gpu-docker"}}}'

WRONG = """\
{
    "lxc_configs": {
        "950": {"name": "a", "apparmor_profile": "lxc_nvidia_gpu_base"},
        "951": {"apparmor_profile": "lxc-nvidia-gpu-dokcer", "apparmor-profile": 3},
        "9x": {},
        "952": {"apparmor_profile": 7, "apparmor_policy_namespace": "no"},
\t"953": {"name": "ü日本", "apparmor_profile": "/etc/apparmor.d/lxc-nvidia-gpu-base"},
        "954": {"apparmor_profile": "unconfined", "apparmor_profile": "lxc-nvidia-gpu-base"},
        "955": [],
        "955": {"apparmor_profile": "Unconfined"},
        "956": {"apparmor_profile": "lxc-a\\nlxc.mount.entry: /"},
        "957": {"apparmor_profile": "%s"}
    }
}
""" % ("lxc-" + "x" * 300)

SYNTAX: dict[str, str | bytes] = {
    "comma-before-bracket": '{\n  "lxc_configs": {\n    "950": {},\n  }\n}\n',
    "comma-missing": '{\n  "lxc_configs": {\n    "950": {}\n    "951": {}\n  }\n}\n',
    "cut-off": '{\n  "lxc_configs": {\n    "950": {}\n',
    "comment": '{\n  // containers\n  "lxc_configs": {}\n}\n',
    "single-quotes": "{'lxc_configs': {}}\n",
    "one-bracket-too-many": '{"lxc_configs": {}}}\n',
    "no-lxc-configs": '{"lxc_config": {}}\n',
    "not-utf-8": b'{\n  "lxc_configs": {"950": {"name": "caf\xe9"}}\n}\n',
    "empty": "",
    "newline-in-string": '{"lxc_configs": {"950": {"name": "a\nb"}}}\n',
}


def write(tmp_path: Path, text: str | bytes, name: str = "x.json") -> str:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def test_a_valid_document_has_no_finding(host: FakeHost) -> None:
    host.json(GOOD)
    host.profile(BASE)
    host.profile(DOCKER)
    done = host.cli("validate")
    assert done == (0, f"{JSON}: valid; 2 containers.\n", "")


def test_every_error_with_its_place(host: FakeHost, tmp_path: Path) -> None:
    file = write(tmp_path, WRONG)
    done = host.cli("validate", file)
    assert_golden("validate-wrong.txt", done.out, tmp_path)
    assert (done.status, done.err) == (1, "")


def test_json_output_fits_its_schema(host: FakeHost, tmp_path: Path) -> None:
    file = write(tmp_path, WRONG)
    done = host.cli("validate", "--json", file)
    document = validated("validate", done.out)
    assert done.status == 1
    first = document["findings"][0]
    assert (first["line"], first["column"]) == (3, 50)
    assert first["path"] == '.lxc_configs["950"].apparmor_profile'
    assert first["value"] == '"lxc_nvidia_gpu_base"'
    assert first["hint"] == 'Did you mean "lxc-nvidia-gpu-base"?'


def test_a_syntax_error_has_its_line_a_caret_and_a_fix(host: FakeHost, tmp_path: Path) -> None:
    """Line, caret and how to fix it; the words are the same on Python 3.11 and 3.13."""
    files = [write(tmp_path, text, f"{name}.json") for name, text in SYNTAX.items()]
    done = host.cli("validate", *files)
    assert_golden("validate-syntax.txt", done.out, tmp_path)
    assert done.status == 1


def test_profile_that_this_host_does_not_have(host: FakeHost) -> None:
    """Of FILE too, on a machine that has our profiles; elsewhere nobody can know."""
    host.profile(BASE)
    host.profile("lxc-site")
    path = host.assign(c950=BASE, c951="lxc-sote", c952="lxc-site")
    done = host.cli("validate")
    assert "warning" in done.out and 'this host has no profile "lxc-sote"' in done.out
    assert 'Did you mean "lxc-site"?' in done.out
    assert f"{JSON}: 0 errors, 1 warning." in done.out
    assert done.status == 0
    assert host.cli("validate", "--strict").status == 1
    done = host.cli("validate", str(path))
    assert 'this host has no profile "lxc-sote"' in done.out and done.status == 0
    host.path("/etc/apparmor.d/lxc-nvidia-gpu-base").unlink()
    assert host.cli("validate", str(path)).out == f"{path}: valid; 3 containers.\n"


@pytest.mark.parametrize("end", [".957", ".957.trial", ".guard", ".guard.957"])
def test_a_profile_that_is_made_for_another_container(host: FakeHost, end: str) -> None:
    """It is in the kernel as long as that runs; a site's own of such a name has a file."""
    host.profile(BASE)
    host.kernel(dict.fromkeys((BASE, f"{BASE}{end}", "lxc-loaded"), "enforce"))
    host.assign(c950=f"{BASE}{end}", c951="lxc-loaded")
    done = host.cli("validate")
    assert f'"{BASE}{end}" is made for a container while it runs' in done.out
    assert f'Assign "{BASE}".' in done.out and f"{JSON}: 0 errors, 1 warning." in done.out
    host.profile(f"{BASE}{end}")
    assert host.cli("validate").out == f"{JSON}: valid; 2 containers.\n"


def test_a_dash_is_standard_input(host: FakeHost, tmp_path: Path) -> None:
    file = write(tmp_path, SYNTAX["comment"])
    done = host.run(
        "/bin/sh", "-c", f"{PYTHON} -m phoenix_apparmor validate - <{file}", PYTHONPATH=str(REPO)
    )
    assert done.out.startswith("<stdin>:2:3: error: JSON has no comments.\n")
    assert done.status == 1


def test_several_files_for_pre_commit(host: FakeHost, tmp_path: Path) -> None:
    good, bad = write(tmp_path, GOOD, "good.json"), write(tmp_path, "[]", "bad.json")
    done = host.cli("validate", good, bad)
    assert done.status == 1
    assert f"{good}: valid; 2 containers.\n" in done.out
    assert f"{bad}:1:1: error: " in done.out


def test_names_that_look_mistyped(host: FakeHost, tmp_path: Path) -> None:
    """Also in a file for another host; a name that goes on is another profile's."""
    for name, meant in (
        ("lxc-nvidia-gpu-bsae", BASE),
        ("lxc-nvidia-gpu-Docker", DOCKER),
        ("lxc-nvidia-gpu-base2", None),
        ("lxc-site", None),
    ):
        file = write(tmp_path, json.dumps({"lxc_configs": {"950": {"apparmor_profile": name}}}))
        done = host.cli("validate", file)
        assert done.status == 0
        assert (f'Did you mean "{meant}"?' in done.out) == bool(meant), done
        assert ("looks mistyped" in done.out) == bool(meant)


def test_options_that_fight_the_key(host: FakeHost, tmp_path: Path) -> None:
    options = ["lxc.mount.auto=sys:rw", "lxc.apparmor.profile=unconfined", "lxc.aa_profile: x"]
    file = write(tmp_path, json.dumps({"lxc_configs": {"950": {"lxc_options": options}}}))
    done = host.cli("validate", file)
    assert done.status == 0 and "0 errors, 2 warnings." in done.out
    assert '.lxc_configs["950"].lxc_options[1]' in done.out


@pytest.mark.parametrize(
    ("mode", "said"),
    [(0o666, "anyone but root may write it too (mode 0666)"), (None, "There is no /etc/pve/")],
)
def test_json_in_use_that_is_not_used(host: FakeHost, mode: int | None, said: str) -> None:
    if mode is not None:
        host.json(GOOD).chmod(mode)
    done = host.cli("validate")
    assert done.status == 1 and said in done.err


def test_one_long_line_is_shown_around_its_place(host: FakeHost, tmp_path: Path) -> None:
    entries: dict[str, Any] = {str(100 + n): {"name": "x" * 20} for n in range(200)}
    entries["250"]["apparmor_profile"] = "nvidia"
    done = host.cli("validate", write(tmp_path, json.dumps({"lxc_configs": entries})))
    _, source, mark, *_ = done.out.splitlines()
    assert len(source) <= 80
    begin, end = mark.index("^"), mark.rindex("^")
    assert source[begin : end + 1] == '"nvidia"'


def test_colour_on_a_terminal_only(host: FakeHost, tmp_path: Path) -> None:
    file = write(tmp_path, WRONG)
    assert "\x1b[31merror\x1b[0m" in on_terminal(host, "validate", file)
    assert "\x1b" not in on_terminal(host, "validate", file, NO_COLOR="1")
    assert "\x1b" not in host.cli("validate", file).out


def test_control_characters_do_not_reach_the_terminal(host: FakeHost, tmp_path: Path) -> None:
    text = json.dumps({"lxc_configs": {"950": {"apparmor_profile": "\x1b[2J\x07"}}})
    raw = '{"lxc_configs": {"950": {"apparmor_profile": "\x9b2J"}}}'
    for file in (write(tmp_path, text, "a.json"), write(tmp_path, raw, "b.json")):
        done = host.cli("validate", file)
        assert done.status == 1
        assert "\x1b" not in done.out and "\x9b" not in done.out


MUTANTS = [
    "",
    '"',
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\\",
    "\n",
    "7",
    "é",
    "\ufeff",
    "null",
    '"950": {},',
]


@pytest.mark.slow
def test_same_verdict_as_the_start() -> None:
    """validate finds an error in just the entries that the start refuses, and in no others."""
    schema = lookup.schema()
    chance = random.Random(6)
    seen = set()
    for _ in range(1500):
        text = WRONG if chance.random() < 0.5 else GOOD
        for _ in range(chance.randint(0, 3)):
            at = chance.randrange(len(text))
            text = text[:at] + chance.choice(MUTANTS) + text[at + chance.randint(0, 2) :]
        data = text.encode()
        found = [f for f in validate.findings(data, schema) if f.severity == "error"]
        try:
            parsed = parse.assignments(data)
        except PhoenixError:
            assert len(found) == 1
            seen.add("unreadable")
            continue
        bad = {positions.jq_path(("lxc_configs", c)) for c, a in parsed.items() if a.problem}
        assert bad == {entry_of(f.path) for f in found if f.path != ".lxc_configs"}
        seen.add("bad" if bad else "good")
    assert seen == {"unreadable", "bad", "good"}


def entry_of(path: str) -> str:
    """The path of the container's entry that a path is in."""
    rest = path.removeprefix(".lxc_configs")
    if rest.startswith("["):
        # a JSON string in brackets
        _, end = json.JSONDecoder().raw_decode(rest[1:])
        return f".lxc_configs{rest[: end + 2]}"
    return ".lxc_configs." + rest[1:].split(".")[0].split("[")[0]


def test_a_document_of_any_depth_gets_an_answer(host: FakeHost, tmp_path: Path) -> None:
    """As deep as json takes it, and deeper: an answer, no traceback."""
    for depth in (200, 100_000):
        nested = "[" * depth + "]" * depth
        file = write(tmp_path, '{"lxc_configs": {"950": {"x": ' + nested + "}}}")
        done = host.cli("validate", file)
        assert "Traceback" not in done.err
        assert done.status == (0 if depth == 200 else 1)


def test_a_document_of_any_depth_gets_the_same_answer_everywhere(host: FakeHost) -> None:
    """A start comes to it by more calls than validate."""
    host.confined("950", BASE)
    answers = []
    for depth in (300, *range(480, 510, 3), *range(960, 1000, 4)):
        nested = "[" * depth + "]" * depth
        host.json('{"x": ' + nested + ', "lxc_configs": {"950": {}}}')
        valid = host.cli("validate").status
        host.path(paths.COPY).unlink(missing_ok=True)
        assert [host.hook("950").status, host.unit("pre-start", "950").status] == [valid] * 2
        answers.append(valid)
    assert answers[0] == 0 and answers[-1] == 1, "the controls"


@pytest.mark.slow
def test_a_big_document_that_is_right_costs_little(host: FakeHost, tmp_path: Path) -> None:
    numbers = "1," * (1 << 20)
    text = '{"lxc_configs": {"950": {}}, "x": "' + "a" * (8 << 20) + f'", "y": [{numbers}1]}}'
    file = write(tmp_path, text)
    command = (f"ulimit -v 400000; exec {PYTHON} -B -m phoenix_apparmor --root {host.root}"
               f" validate {file}")  # fmt: skip
    done = host.run("sh", "-c", command, PYTHONPATH=str(REPO))
    assert done.status == 0, done
    spans = positions.spans('{"a": "' + "x" * (1 << 20) + '\\"", "b": 1}')
    assert set(spans) == {(), ("a",), ("b",)}


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("lxc_nvidia_gpu_base", BASE),
        ("LXC-NVIDIA-GPU-DOCKER", DOCKER),
        ("lxc-nvidia-gpu-dokcer", DOCKER),
        ("nvidia-gpu-base", BASE),
        ("/etc/apparmor.d/lxc-nvidia-gpu-base", BASE),
        ("unconfind", "unconfined"),
        ("Generated", "generated"),
        ("Unconfined", "unconfined"),
        (f"{BASE}//&unconfined", BASE),
        ("lxc-own//&unconfined", ""),
        ("lxc-unconfined", ""),
        ("/usr/bin/unconfined", ""),
        ("unconfined.950", ""),
        ("confined", ""),
        (BASE, ""),
        ("docker-default", ""),
        ("", ""),
    ],
)
def test_did_you_mean(wrong: str, meant: str) -> None:
    expected = f'Did you mean "{meant}"?' if meant else ""
    assert validate.did_you_mean(wrong, paths.SHIPPED) == expected


def test_what_only_python_reads_is_warned_of(host: FakeHost, tmp_path: Path) -> None:
    text = '{"lxc_configs": {"950": {"n": NaN}}, "y": [1, -Infinity], "z": "NaN", "w": 1e999}'
    done = host.cli("validate", write(tmp_path, text))
    assert done.status == 0 and done.out.count("JSON has no such value") == 2, done
    assert '.lxc_configs["950"].n: JSON has no such' in done.out and ".y[1]: " in done.out
    assert "JSON has no such" not in host.cli("validate", write(tmp_path, GOOD)).out


@pytest.mark.parametrize(
    ("text", "what", "where", "value"),
    [
        (b"\xef\xbb\xbf" + GOOD.encode(), "a byte order mark (BOM)", (".", 1, 1), None),
        (b'{"lxc_configs": {}, "n": NaN}', "no such value", (".n", 1, 26), "NaN"),
        (b'{"lxc_configs": {}, "n": -Infinity}', "no such value", (".n", 1, 26), "-Infinity"),
        (
            rb'{"lxc_configs": {}, "n": "a\ud83d"}', "half a character", (".n", 1, 26),
            r'"a\ud83d"',
        ),
    ],
)  # fmt: skip
def test_what_perl_does_not_read_is_an_error_with_strict(
    host: FakeHost, tmp_path: Path, text: bytes, what: str, where: Any, value: str | None
) -> None:
    """What Proxmox' Perl says of it is asked here, and of the same without it."""
    perl = ["/usr/bin/perl", "-MJSON::PP", "-e", "local $/; JSON::PP::decode_json(<STDIN>)"]
    assert subprocess.run(perl, input=text, capture_output=True, check=False).returncode
    assert not subprocess.run(perl, input=GOOD.encode(), check=False).returncode
    file = write(tmp_path, text)
    done = host.cli("validate", "--strict", "--json", file)
    (found,) = validated("validate", done.out)["findings"]
    assert done.status == 1 and what in found["what"]
    assert (found["path"], found["line"], found["column"]) == where
    assert found["value"] == value
    assert host.cli("validate", file).status == 0, "starts read it"
    assert host.cli("validate", "--strict", write(tmp_path, GOOD)).status == 0
    whole = r'{"lxc_configs": {}, "n": "\ud83d\ude00"}'
    assert host.cli("validate", "--strict", write(tmp_path, whole)).status == 0


@pytest.mark.parametrize("profile", ["unconfined", "generated"])
@pytest.mark.parametrize(
    ("key", "usual", "other"),
    [
        ("apparmor_mode", "enforce", "trial"),
        ("apparmor_rules", [], ["/x r,"]),
        ("apparmor_policy_namespace", True, False),
    ],
)
def test_a_key_that_does_nothing_without_a_profile(
    host: FakeHost, profile: str, key: str, usual: object, other: object
) -> None:
    for value in (usual, other):
        host.json({"950": {"apparmor_profile": profile, key: value}})
        said = f"{key} does nothing for {profile}: it needs a profile." in host.cli("validate").out
        assert said is (value is other)
    host.json({"950": {key: other}})
    assert "does nothing for" not in host.cli("validate").out


def test_a_stacked_name_is_one_error() -> None:
    text = f'{{"lxc_configs": {{"950": {{"apparmor_profile": "{BASE}//&unconfined"}}}}}}'
    names = validate.Names(here=(BASE,))
    (found,) = validate.findings(text.encode(), lookup.schema(), names)
    assert found.hint == f'Did you mean "{BASE}"?'
