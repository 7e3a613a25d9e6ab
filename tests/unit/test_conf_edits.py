"""Shell lines of doctor that change a .conf: the main section only, and only what they mean."""

import subprocess
from pathlib import Path

import pytest

from phoenix_apparmor.doctor import conf_edits

ENTRY = "/dev/null sys/module/apparmor/parameters/enabled none bind,optional 0 0"
MAIN = f"""#lxc.apparmor.profile: in the notes
hostname: x
lxc.apparmor.profile = a
lxc.apparmor.profile: b
    lxc.apparmor.profile: indented
lxc.mount.entry: {ENTRY}
lxc.mount.entry: /srv srv none bind 0 0
lxc.cap.drop:
lxc.cap.drop: mac_admin
"""
REST = "\n[pve:pending]\nlxc.apparmor.profile: b\n\n[snap]\n" + MAIN
PROFILE = r"lxc\.apparmor\.profile"
ENTRY_KEY = r"lxc\.mount\.entry"
EDITS = {
    "take out": (conf_edits.take_out("{}", conf_edits.PROFILE_LINE), "lxc.apparmor.profile"),
    "take out a value": (conf_edits.take_out("{}", ENTRY_KEY, ENTRY), f"lxc.mount.entry: {ENTRY}"),
    "take out indented": (conf_edits.take_out_indented("{}", PROFILE), "    lxc.apparmor"),
    "take out empty": (conf_edits.take_out_empty("{}", r"lxc\.cap\.drop"), "lxc.cap.drop:\n"),
}


def run(tmp_path: Path, commands: list[str]) -> str:
    path = tmp_path / "950.conf"
    path.write_text(MAIN + REST)
    for command in commands:
        subprocess.run(["/bin/sh", "-c", command.replace("'{}'", str(path))], check=True)
    return path.read_text()


@pytest.mark.parametrize(("command", "gone"), EDITS.values(), ids=EDITS)
def test_a_line_is_taken_out_of_the_main_section_alone(
    tmp_path: Path, command: str, gone: str
) -> None:
    kept = "".join(line for line in MAIN.splitlines(True) if not line.startswith(gone))
    assert kept != MAIN
    assert run(tmp_path, [command]) == kept + REST


def test_sets_one_profile_line(tmp_path: Path) -> None:
    text = run(
        tmp_path, [conf_edits.set_profile("{}", "lxc-x"), conf_edits.keep_last_profile("{}")]
    )
    expected = MAIN.replace("lxc.apparmor.profile = a\n", "").replace(
        "profile: b", "profile: lxc-x"
    )
    assert text == expected + REST
