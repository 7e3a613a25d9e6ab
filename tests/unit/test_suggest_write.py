"""suggest --write: what the JSON lacks is added to it, and every other byte stays."""

import json
import stat

import pytest

from tests.names import BASE, DOCKER, JSON
from tests.unit.fakehost import FakeHost
from tests.unit.suggest_host import conf, suggested


def test_write_makes_a_json_that_validate_likes(host: FakeHost) -> None:
    conf(host, "950", "features: nesting=1,keyctl=1")
    conf(host, "951")
    done = host.cli("suggest", "--write", "--dry-run")
    assert done.status == 0 and f"+++ {JSON}" in done.out
    assert not host.path(JSON).exists()
    assert host.cli("suggest", "--write").status == 0
    assert stat.S_IMODE(host.path(JSON).stat().st_mode) == 0o640
    assert json.loads(host.read(JSON)) == {
        "lxc_configs": {
            "950": {"name": "ct950", "apparmor_profile": DOCKER},
            "951": {"name": "ct951", "apparmor_profile": BASE},
        }
    }
    host.profile(BASE)
    host.profile(DOCKER)
    assert host.cli("validate", "--strict").status == 0
    before = host.path(JSON).stat()
    done = host.cli("suggest", "--write")
    assert done.status == 0 and "Nothing to suggest" in done.out
    assert host.path(JSON).stat().st_ino == before.st_ino, "not written again"


def test_what_the_json_has_stays(host: FakeHost) -> None:
    conf(host, "950")
    conf(host, "951")
    text = '{\r\n\t"lxc_configs": {\r\n\t\t"950": {"apparmor_profile": "unconfined"}\r\n\t}\r\n}'
    host.json(text)
    assert host.cli("suggest", "950", "951", "--write").status == 0
    new = host.read(JSON).decode()
    addition = ',\r\n\t\t"951": {"name": "ct951", "apparmor_profile": "lxc-nvidia-gpu-base"}'
    assert new == text.replace('"unconfined"}', '"unconfined"}' + addition)


def test_those_without_a_profile_are_mentioned(host: FakeHost) -> None:
    for ctid in ("950", "951", "952"):
        conf(host, ctid)
    host.assign(c950="unconfined", c951="generated", c952=BASE)
    done = host.cli("suggest")
    assert done.status == 0 and "phoenix-apparmor suggest 950 951\n" in done.out
    found = suggested(host, "950")
    assert found["950"]["assigned"] == "unconfined" and found["950"]["profile"] == BASE
    assert list(suggested(host, "--all")) == ["950", "951", "952"] and suggested(host) == {}


@pytest.mark.parametrize(
    "text",
    ['{"lxc_configs": {', '{"lxc_configs": {}, "lxc_configs": {}}', "[]", '{"lxc_configs": 7}'],
)
def test_a_broken_json_is_not_touched(host: FakeHost, text: str) -> None:
    conf(host, "950")
    host.json(text)
    done = host.cli("suggest", "--write")
    assert done.status == 1 and JSON in done.err
    assert host.read(JSON) == text.encode()


def test_who_may_not_write_is_told(host: FakeHost) -> None:
    conf(host, "950")
    host.json('{"lxc_configs": {}}').chmod(0o666)
    done = host.cli("suggest", "--write")
    assert done.status == 1 and "chmod go-w" in done.err
