"""Compiled policies that are kept: used again only for just the same, and only if root's."""

from pathlib import Path

import pytest

from phoenix_apparmor import paths
from phoenix_apparmor.host import Host
from phoenix_apparmor.policy import compiled, files
from phoenix_apparmor.policy.files import ProfileFile
from tests.names import BASE
from tests.unit.fakehost import FakeHost

BODY = f"  include <abstractions/part>\n  include if exists <local/{BASE}>"


@pytest.fixture
def real(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> Host:
    host.write("/etc/apparmor.d/abstractions/part", "include <tunables/deeper>\n/a r,\n")
    host.write("/etc/apparmor.d/tunables/deeper", "@{X}=/x\n")
    host.write("/etc/apparmor.d/abi/3.0", "query {}\n")
    host.profile(BASE, BODY)
    monkeypatch.setenv("PATH", host.environment["PATH"])
    return Host(str(host.root))


def file_of(real: Host) -> ProfileFile:
    file = files.find(real, BASE)
    assert file is not None
    return file


def compiles_anew(host: FakeHost, real: Host) -> bool:
    """Whether the parser is asked at all."""
    log = host.path("/fake-parser-calls")
    log.unlink(missing_ok=True)
    compiled.policy_of(real, file_of(real))
    return log.exists()


def the_kept(host: FakeHost) -> Path:
    [path] = host.path(f"{paths.COMPILED}/{BASE}").iterdir()
    return path


def test_the_same_text_is_compiled_once(host: FakeHost, real: Host) -> None:
    assert compiles_anew(host, real)
    first = compiled.policy_of(real, file_of(real))
    assert not compiles_anew(host, real)
    assert compiled.policy_of(real, file_of(real)) == first == the_kept(host).read_bytes()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (BASE, None),
        ("abstractions/part", "include <tunables/deeper>\n/b r,\n"),
        ("tunables/deeper", "@{X}=/y\n"),
        (f"local/{BASE}", "/c r,\n"),
        ("abi/3.0", "query {more}\n"),
        ("../apparmor/parser.conf", "Optimize=no-expr-tree\n"),
    ],
)
def test_whatever_goes_into_it_is_another(
    host: FakeHost, real: Host, name: str, text: str | None
) -> None:
    host.profile(BASE, "abi <abi/3.0>,\n" + BODY)
    assert compiles_anew(host, real) and not compiles_anew(host, real)
    if text is None:
        host.profile(BASE, BODY + "\n/z r,")
    else:
        host.write(f"/etc/apparmor.d/{name}", text)
    assert compiles_anew(host, real)
    assert not compiles_anew(host, real)
    the_kept(host)  # and the old one is gone


def test_another_parser_is_another(
    host: FakeHost, real: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert compiles_anew(host, real) and not compiles_anew(host, real)
    program = host.path("/newer/apparmor_parser")
    program.parent.mkdir()
    program.write_bytes((Path(__file__).parent / "fake/apparmor_parser").read_bytes())
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{host.environment['PATH']}")
    assert compiles_anew(host, real)


def test_one_that_was_cut_is_not_used(host: FakeHost, real: Host) -> None:
    """A disk that is full, a crash: what is left of it is not what the parser made."""
    whole = compiled.policy_of(real, file_of(real))
    the_kept(host).write_bytes(whole[:-5])
    assert compiled.policy_of(real, file_of(real)) == whole
    assert the_kept(host).read_bytes() == whole


def test_one_of_another_user_is_not_used(host: FakeHost, real: Host) -> None:
    compiled.policy_of(real, file_of(real))
    the_kept(host).chmod(0o666)
    assert compiles_anew(host, real)


@pytest.mark.parametrize(
    "line",
    [
        "  /a r, include <abstractions/part>",  # not at the line's begin
        "  include /etc/apparmor.d/abstractions/part",
    ],
)
def test_includes_that_are_not_seen_are_compiled_each_time(
    host: FakeHost, real: Host, line: str
) -> None:
    host.profile(BASE, line)
    assert compiles_anew(host, real) and compiles_anew(host, real)


def test_an_edit_meanwhile_is_not_kept(host: FakeHost, real: Host) -> None:
    """The policy may be of the text before, under the key of the one after, or the other way."""

    class Busy(Host):
        def has_program(self, name: str) -> bool:  # asked just before it runs
            host.profile(BASE, BODY + "\n/edited r,")
            return super().has_program(name)

    assert compiled.compile_file(Busy(str(host.root)), file_of(real)).path == ""
    assert compiles_anew(host, real)


def test_without_a_place_for_it_it_is_compiled_each_time(host: FakeHost, real: Host) -> None:
    place = host.path(paths.COMPILED)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("no folder")
    assert compiles_anew(host, real) and compiles_anew(host, real)
