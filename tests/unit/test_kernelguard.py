"""Where the kernel's files cannot be guarded the start goes on, and says so.

What is guarded is tried on real kernels: tests/vm/test_kernel_files.py.
"""

import hashlib
from pathlib import Path

import pytest

from phoenix_apparmor import btf, guardprogram, kernelguard
from phoenix_apparmor.errors import PhoenixError
from tests.unit.test_btf import made


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In place of the file system in which programs are held: this machine's kernel asks none."""
    monkeypatch.setattr(kernelguard, "FOLDER", str(tmp_path))
    monkeypatch.setattr(kernelguard, "PINS", f"{tmp_path}/phoenix_apparmor_{kernelguard.VERSION}")
    return tmp_path


def problem() -> str:
    with pytest.raises(PhoenixError) as raised:
        kernelguard.hold()
    assert raised.value.status == 0
    return raised.value.what


def test_where_they_are_held_nothing_is_done(folder: Path) -> None:
    Path(kernelguard.PINS).mkdir()
    kernelguard.hold()
    assert [path.name for path in folder.iterdir()] == [Path(kernelguard.PINS).name]


def test_a_kernel_without_btf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(btf, "VMLINUX", "/gone/vmlinux")
    assert problem().endswith(": No such file or directory (/gone/vmlinux).")


def test_a_kernel_that_has_something_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("btf") / "vmlinux"
    file.write_bytes(made().data())
    monkeypatch.setattr(btf, "VMLINUX", str(file))
    assert f"in {file} is something unknown: " in problem()


@pytest.mark.skipif(not Path(btf.VMLINUX).exists(), reason="this kernel has no BTF")
def test_where_they_cannot_be_held_what_was_there_before_stays(folder: Path) -> None:
    older = folder / "phoenix_apparmor_0" / "security_file_open"
    older.parent.mkdir()
    older.touch()
    problem()
    assert [path.name for path in folder.iterdir()] == ["phoenix_apparmor_0"]
    assert older.exists()


def test_nowhere_to_hold_them(folder: Path) -> None:
    folder.rmdir()
    assert problem()


# By the folder's number: what is held under the name of another is not replaced.
TEXTS = {"1": "6c0acad8c9189d83"}


def test_new_texts_have_a_new_version() -> None:
    names = guardprogram.Layout._fields[1:]
    at = guardprogram.Layout(dict.fromkeys(guardprogram.FUNCTIONS, 1), *range(8, 8 + len(names)))
    texts = b"".join(guardprogram.program(at, name) for name in guardprogram.FUNCTIONS)
    assert hashlib.sha256(texts).hexdigest()[:16] == TEXTS[kernelguard.VERSION]
