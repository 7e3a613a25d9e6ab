"""Compiled policies that are kept: used again only for just the same, and only if root's."""

import os
import shutil
from pathlib import Path

import pytest

from phoenix_apparmor import commands, paths
from phoenix_apparmor.assignments.parse import Assignment
from phoenix_apparmor.host import Host
from phoenix_apparmor.policy import compiled, files, load, variants
from phoenix_apparmor.policy.files import ProfileFile
from tests.names import BASE
from tests.unit.fakehost import PROGRAMS, FakeHost

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
    shutil.copytree(PROGRAMS, newer := host.path("/newer"))
    os.utime(newer / "apparmor_parser")
    monkeypatch.setenv("PATH", f"{newer}:{host.environment['PATH']}")
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


def test_another_kernel_is_another(
    host: FakeHost, real: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says to the parser what it has (features), also one that was built anew."""
    for release, version in (("6.1", "#1"), ("6.2", "#1"), ("6.2", "#2")):
        runs = os.uname_result(("Linux", "host", release, version, "x86_64"))
        monkeypatch.setattr(os, "uname", lambda runs=runs: runs)
        assert compiles_anew(host, real) and not compiles_anew(host, real)


@pytest.mark.parametrize("said", ["<abi/x>", "abi/x", '"abi/x"', '"/etc/apparmor.d/abi/x"'])
def test_an_abi_goes_into_it_however_it_is_named(host: FakeHost, real: Host, said: str) -> None:
    host.write(f"/etc/apparmor.d/{BASE}", f"abi {said},\nprofile {BASE} {{\n}}\n")
    assert compiles_anew(host, real) and not compiles_anew(host, real), "there is no such file"
    for text in ("query {}\n", "query {more}\n"):
        host.write("/etc/apparmor.d/abi/x", text)
        assert compiles_anew(host, real) and not compiles_anew(host, real)


def test_includes_that_are_too_deep_are_compiled_each_time(host: FakeHost, real: Host) -> None:
    host.profile(BASE, "  include <deep/0>")
    for number in range(100):
        host.write(f"/etc/apparmor.d/deep/{number}", f"include <deep/{number + 1}>\n")
    host.write("/etc/apparmor.d/deep/100", "/a r,\n")
    assert compiles_anew(host, real) and compiles_anew(host, real)


def test_one_that_includes_itself_is_known(host: FakeHost, real: Host) -> None:
    host.profile(BASE, f'  include if exists "/etc/apparmor.d/{BASE}"')
    assert compiles_anew(host, real) and not compiles_anew(host, real)


def test_what_is_not_surely_this_text_is_kept_nowhere(host: FakeHost, real: Host) -> None:
    host.profile(BASE, "  include /etc/apparmor.d/abstractions/part")
    file = file_of(real)
    assert compiled.compile_file(real, file).path == ""
    assert compiled.compile_file(real, file._replace(name="../../up")).path == ""
    host.profile(BASE)
    file = file_of(real)
    beside = host.write("/var/cache/other", "x")
    for name in ("../../up", "..", "."):
        assert compiled.compile_file(real, file._replace(name=name)).path == ""
    assert not host.path("/var/up").exists() and beside.exists()
    assert compiled.compile_file(real, file).path != "", "the control"


def test_root_alone_reads_it_and_nothing_else_is_left_beside_it(host: FakeHost, real: Host) -> None:
    compiled.policy_of(real, file_of(real))
    folder = the_kept(host).parent
    assert the_kept(host).stat().st_mode & 0o777 == 0o600
    other = host.write("/other/file", "x")
    (folder / "link").symlink_to(other.parent)
    (folder / "folder").mkdir()
    (folder / "folder/file").write_text("x")
    host.profile(BASE, "  /other r,")
    compiled.policy_of(real, file_of(real))
    the_kept(host)
    assert other.read_text() == "x", "behind the link"


def test_whether_one_compiles(host: FakeHost, real: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    assert compiled.compiles(real, file_of(real))
    host.profile(BASE, "  SYNTAX ERROR")
    file = file_of(real)
    assert not compiled.compiles(real, file)
    monkeypatch.setattr(commands, "STANDARD_PATH", "/nowhere")
    monkeypatch.setenv("PATH", "/nowhere")
    assert compiled.compiles(real, file), "without a parser nobody can say that"


def test_a_reload_leaves_the_next_boot_what_it_loaded(host: FakeHost, real: Host) -> None:
    """apparmor.service takes the parser's own cache, which -W writes: not for a dry run."""
    log = host.path("/fake-parser-calls")

    def kinds(*, dry_run: bool = False) -> list[tuple[bool, bool]]:
        """Of each call: whether it writes the parser's cache, and whether it loads."""
        log.unlink(missing_ok=True)
        [outcome] = load.reload(real, [file_of(real)], dry_run=dry_run)
        assert outcome.action in ("loaded", "replaced"), outcome
        calls = [set(line.split()) for line in log.read_text().splitlines()]
        return [(not call.isdisjoint({"-W", "-QTWS"}), "-r" in call) for call in calls]

    assert kinds(dry_run=True) == [(False, False)]
    # That one is kept, but not in the parser's cache.
    assert kinds() == [(True, True)]
    host.profile(BASE, "  /b r,")
    assert kinds() == [(True, False), (False, True)], "compiled once"
    shutil.rmtree(host.path(paths.COMPILED))
    host.path(paths.COMPILED).write_text("no folder")
    host.profile(BASE, "  /c r,")
    assert kinds() == [(True, False), (True, True)]


RULES = ("mount fstype=nfs4,",)
VARIANT = f"{BASE}.950"


def check_and_start(real: Host, checked: tuple[str, ...], *, keep: bool) -> bool:
    """Whether the next start of a container with RULES compiles anew, after a check of others."""
    assignment = Assignment(BASE, rules=RULES)
    variants.check(real, "950", assignment, checked, keep=keep)
    [(name, text)] = variants.texts(real, "950", assignment).items()
    assert name == VARIANT
    os.makedirs(real.path(paths.VARIANTS), exist_ok=True)
    real.replace(f"{paths.VARIANTS}/{name}", text)
    return compiled.kept(real, ProfileFile(name, f"{paths.VARIANTS}/{name}", text)) is None


def test_rules_that_were_checked_are_not_compiled_again(host: FakeHost, real: Host) -> None:
    assert not check_and_start(real, RULES, keep=True)
    log = host.path("/fake-parser-calls")
    log.unlink()
    variants.check(real, "950", Assignment(BASE, rules=RULES), RULES, keep=True)
    assert not log.exists()


@pytest.mark.parametrize(
    ("checked", "keep"), [(RULES, False), ((), True), (("mount fstype=nfs,",), True)]
)
def test_what_the_start_does_not_use_is_not_kept_for_it(
    host: FakeHost, real: Host, checked: tuple[str, ...], keep: bool
) -> None:
    assert check_and_start(real, checked, keep=keep)
    if not keep or not checked:
        assert not host.path(f"{paths.COMPILED}/{VARIANT}").exists()


def test_an_edit_of_the_profile_meanwhile_is_not_kept_for_a_start(
    host: FakeHost, real: Host
) -> None:
    variants.check(real, "950", Assignment(BASE, rules=RULES), RULES, keep=True)
    host.write("/etc/apparmor.d/abstractions/part", "/other r,\n")
    assert check_and_start(real, (), keep=False)


def test_what_was_only_checked_goes_with_the_rules(host: FakeHost, real: Host) -> None:
    variants.check(real, "950", Assignment(BASE, rules=RULES), RULES, keep=True)
    assert host.path(f"{paths.COMPILED}/{VARIANT}").is_dir()
    variants.forget(real, "950", ())
    assert not host.path(f"{paths.COMPILED}/{VARIANT}").exists()
