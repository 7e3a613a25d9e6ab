"""The built package, read with python-debian."""

import hashlib
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from debian.changelog import Changelog
from debian.deb822 import Deb822, PkgRelation
from debian.debfile import DebFile

import phoenix_apparmor
from tests.build import TREE

pytestmark = pytest.mark.slow

EXECUTABLE = {
    "/usr/libexec/phoenix-apparmor/hook",
    "/usr/libexec/phoenix-apparmor/hookscript",
    "/usr/libexec/phoenix-apparmor/lock-shares",
    "/usr/libexec/phoenix-apparmor/maintscript",
    "/usr/libexec/phoenix-apparmor/unit",
    "/usr/sbin/phoenix-apparmor",
    "/usr/share/doc/phoenix-apparmor/examples/checkmk-local",
}
# Beside the Python modules, the profiles and the man pages.
OTHERS = EXECUTABLE | {
    "/usr/lib/systemd/system/phoenix-apparmor-metrics.service",
    "/usr/lib/systemd/system/phoenix-apparmor-metrics.timer",
    "/usr/lib/systemd/system/phoenix-apparmor-publish.path",
    "/usr/lib/systemd/system/phoenix-apparmor-publish.service",
    "/usr/lib/systemd/system/phoenix-apparmor-publish.timer",
    "/usr/lib/systemd/system/pve-container-debug@.service.d/50-phoenix-apparmor.conf",
    "/usr/lib/systemd/system/pve-container@.service.d/50-phoenix-apparmor.conf",
    "/usr/lib/tmpfiles.d/phoenix-apparmor.conf",
    "/usr/share/bash-completion/completions/phoenix-apparmor",
    "/usr/share/doc/phoenix-apparmor/README.md.gz",
    "/usr/share/doc/phoenix-apparmor/SECURITY.md.gz",
    "/usr/share/doc/phoenix-apparmor/attacks.md.gz",
    "/usr/share/doc/phoenix-apparmor/changelog.gz",
    "/usr/share/doc/phoenix-apparmor/copyright",
    "/usr/share/doc/phoenix-apparmor/dashboard.svg",
    "/usr/share/doc/phoenix-apparmor/deeds.md.gz",
    "/usr/share/doc/phoenix-apparmor/examples/cluster-metrics.conf",
    "/usr/share/doc/phoenix-apparmor/examples/grafana-dashboard.json",
    "/usr/share/doc/phoenix-apparmor/examples/icinga2.conf",
    "/usr/share/doc/phoenix-apparmor/examples/prometheus-rules.yml",
    "/usr/share/phoenix-apparmor/phoenix_lxc_configs.schema.json",
}
MODULES = "/usr/lib/python3/dist-packages/phoenix_apparmor"


@pytest.fixture
def deb(v1: Path) -> Iterator[DebFile]:
    with DebFile(v1) as opened:
        yield opened


def profiles_in_tree() -> dict[str, Path]:
    """Where each profile, abstraction and seccomp policy is shipped -> its file in the tree."""
    folder = TREE / "profiles"
    found = [*folder.glob("lxc-*"), *folder.glob("abstractions/phoenix/*")]
    shipped = {f"/etc/apparmor.d/{path.relative_to(folder)}": path for path in found}
    for path in folder.glob("*.seccomp"):
        shipped[f"/etc/phoenix-apparmor/{path.name}"] = path
    return shipped


def control(deb: DebFile, name: str) -> str:
    """The text of a control file: "conffiles", "postinst"."""
    text = deb.control.get_content(name, encoding="utf-8")
    assert text is not None
    return text


def content(deb: DebFile, path: str) -> bytes:
    """A shipped file."""
    found = deb.data.get_content(path.lstrip("/"))
    assert isinstance(found, bytes)
    return found


def members(deb: DebFile) -> list[tarfile.TarInfo]:
    return list(deb.data.tgz())


def conffiles(deb: DebFile) -> set[str]:
    return set(control(deb, "conffiles").splitlines())


def test_version_is_the_same_everywhere(deb: DebFile) -> None:
    changelog = Changelog((TREE / "debian/changelog").read_text())
    assert str(changelog.version) == phoenix_apparmor.__version__
    assert deb.debcontrol()["Version"] == phoenix_apparmor.__version__
    shipped = deb.changelog()
    assert shipped is not None
    assert shipped.version == changelog.version


def test_all_profiles_and_nothing_else_are_conffiles(deb: DebFile) -> None:
    assert conffiles(deb) == set(profiles_in_tree())


def test_conffiles_are_what_is_in_the_tree(deb: DebFile) -> None:
    for path, source in profiles_in_tree().items():
        assert content(deb, path) == source.read_bytes()


def test_md5sums_fit_and_cover_all_other_files(deb: DebFile) -> None:
    sums = deb.md5sums(encoding="utf-8")
    files = {m.name.removeprefix("./") for m in members(deb) if m.isfile()}
    assert set(sums) == files - {path.lstrip("/") for path in conffiles(deb)}
    for path, md5 in sums.items():
        assert hashlib.md5(content(deb, path)).hexdigest() == md5


def test_modes_and_owners(deb: DebFile) -> None:
    for member in members(deb):
        assert (member.uname, member.gname) == ("root", "root"), member.name
        if member.isfile():
            path = member.name.removeprefix(".")
            assert member.mode == (0o755 if path in EXECUTABLE else 0o644), path
        elif member.isdir():
            assert member.mode == 0o755, member.name


def test_no_stray_files(deb: DebFile) -> None:
    files = {m.name.removeprefix(".") for m in members(deb) if not m.isdir()}
    modules = {
        f"{MODULES}/{path.relative_to(TREE / 'phoenix_apparmor')}"
        for path in TREE.glob("phoenix_apparmor/**/*")
        if path.suffix in {".py", ".json"}
    }
    metadata = {path for path in files if path.startswith(f"{MODULES}-") and "dist-info" in path}
    pages = [path.stem for path in TREE.glob("debian/man/*.scd")]
    manuals = {f"/usr/share/man/man{page[-1]}/{page}.gz" for page in pages}
    assert metadata
    assert files - metadata == OTHERS | manuals | modules | set(profiles_in_tree())


def test_schema_is_where_the_design_says(deb: DebFile) -> None:
    """A link to the one that the code reads."""
    link = deb.data.tgz().getmember("./usr/share/phoenix-apparmor/phoenix_lxc_configs.schema.json")
    target = Path("/usr/share/phoenix-apparmor", link.linkname)
    assert (
        str(target.parent.resolve() / target.name)
        == f"{MODULES}/assignments/phoenix_lxc_configs.schema.json"
    )


def test_the_package_needs_no_more_than_it_says(deb: DebFile) -> None:
    fields = deb.debcontrol()
    depends = relations(fields["Depends"])
    assert depends == [{"apparmor"}, {"python3"}, {"python3-debian"}, {"python3-jsonschema"}]
    assert {"lxc-pve", "liblxc-common"} in relations(fields["Recommends"])
    assert relations(fields["Enhances"]) == [{"pve-container"}]


def relations(field: str) -> list[set[str]]:
    """The names of each group of alternatives."""
    parsed = PkgRelation.parse_relations(field)
    return sorted(({str(one["name"]) for one in any_of} for any_of in parsed), key=sorted)


def test_native_and_for_all_architectures(deb: DebFile) -> None:
    fields: Deb822 = deb.debcontrol()
    assert fields["Architecture"] == "all"
    assert "-" not in fields["Version"]


def test_maintainer_scripts_never_unload(deb: DebFile) -> None:
    """A running container whose profile is unloaded is unconfined, and stays so."""
    for name in ("preinst", "postinst", "prerm", "postrm"):
        text = control(deb, name)
        assert "apparmor_parser" not in text, name
        assert "remove_unknown" not in text, name
        # debhelper's own parts are in by now
        assert "#DEBHELPER#" not in text, name


def test_byte_compiled_before_the_first_use(deb: DebFile) -> None:
    text = control(deb, "postinst")
    assert text.index("py3compile") < text.index("/maintscript configure")
