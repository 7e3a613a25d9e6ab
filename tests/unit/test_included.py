"""Settings from included files and fstabs are judged as .conf is; what is unread is unknown."""

import json
from collections.abc import Callable

import pytest

from tests.names import BASE
from tests.unit.doctor_cases_included import FILE, FINE, FSTAB, NODES, in_fstab, included, unread
from tests.unit.doctor_host import CONF, diagnose, make_sound, no_devices, run_fix
from tests.unit.fakehost import FakeHost


@pytest.fixture
def host(host: FakeHost) -> FakeHost:
    return make_sound(host)


@pytest.mark.parametrize("spoil", FINE.values(), ids=FINE)
def test_there_is_nothing_to_say(host: FakeHost, spoil: Callable[[FakeHost], object]) -> None:
    spoil(host)
    off = [f for f in diagnose(host) if f["check"] != "includes"]
    assert off == []


def test_what_may_be_in_an_unread_file_is_not_said_to_be_nowhere(host: FakeHost) -> None:
    unread(host)
    (found,) = diagnose(host)
    assert (found["check"], found["severity"]) == ("includes", "unknown")
    assert "may write" in found["what"]
    host.path(FILE).chmod(0o600)
    assert diagnose(host) == [], "it has its nodes there"
    host.write(FILE, "")
    assert [f["check"] for f in diagnose(host)] == ["gpu-configured"], "the control"


def test_status_says_unknown_of_ids_in_an_unread_file(host: FakeHost) -> None:
    host.running("950", "unconfined")

    def said() -> str:
        return " ".join(host.cli("status", "950").out.split())

    assert "only its user namespace confines root" in said()
    included("lxc.idmap =\nlxc.idmap = u 0 0 65536\n")(host)
    assert "runs unconfined: nothing confines root" in said()
    host.path(FILE).chmod(0o666)
    assert "runs unconfined: no profile confines root" in said()


def test_suggest_reads_them_too(host: FakeHost) -> None:
    host.json({})
    host.write(FILE, NODES)
    no_devices(f"lxc.include: {FILE}\n")(host)

    def said() -> str:
        return " ".join(host.cli("suggest", "950").out.split())

    assert f"has a GPU ({FILE}: lxc.mount.entry = /dev/nvidia0" in said()
    host.write(FILE, "lxc.mount.entry = /srv/d var/lib/docker none bind 0 0\n")
    assert f"/var/lib/docker is a mount point of it ({FILE})" in said()
    assert "no GPU in its configuration" in said()
    host.path(FILE).chmod(0o666)
    assert "no GPU in its configuration" not in said() and "is not read" in said()


MESSAGE = (
    'audit: type=1400 audit(1764000100.1:1): apparmor="DENIED" operation="mount" class="mount" '
    f'profile="{BASE}" name="/data/" pid=1 comm="mount" flags="ro, remount"'
)


@pytest.mark.parametrize("place", ["fstab", "include"])
def test_denials_know_what_is_mounted_there(host: FakeHost, place: str) -> None:
    """No rule lets root of a user namespace remount a file system of the host's."""
    host.write("/fake/journal.json", json.dumps({"MESSAGE": MESSAGE}) + "\n")
    host.runtime("950", f"lxc.apparmor.profile = {BASE}\n".encode())

    def advice() -> str:
        (group,) = json.loads(host.cli("denials", "--json").out)["denials"]
        return str(group["advice"])

    assert "No rule helps" not in advice()
    if place == "fstab":
        in_fstab("/srv data none bind 0 0\n")(host)
    else:
        included("lxc.mount.entry = /srv data none bind 0 0\n")(host)
    assert "No rule helps: the options of a file system of the host's" in advice()
    # which ids are mapped nobody knows then
    host.path(FSTAB if place == "fstab" else FILE).chmod(0o666)
    assert "only, and this container is unprivileged" not in advice()


def test_another_nodes_files_are_unknown(host: FakeHost) -> None:
    """migration: what a file of another node asks for is not known here."""
    host.conf("950", CONF + f"lxc.include: {FILE}\n")
    host.write(FILE, "lxc.mount.entry = /dev/kfd dev/kfd none bind 0 0\n")
    members = {"nodename": "pve1", "nodelist": {"pve1": {"online": 1}, "pve2": {"online": 1}}}
    host.write("/etc/pve/.members", json.dumps(members | {"cluster": {"quorate": 1}}))
    for name in ("pve1", "pve2"):
        host.path(f"/etc/pve/nodes/{name}/lxc").mkdir(parents=True)
    host.write("/etc/pve/nodes/pve2/lxc/960.conf", host.read("/etc/pve/lxc/950.conf"))
    assert host.cli("publish").status == 0
    assert "it has no /dev/kfd" not in host.cli("status", "--cluster", "960").out
    assert f"what {FILE} asks for is unknown" in " ".join(
        host.cli("status", "--cluster", "960").out.split()
    )


@pytest.mark.parametrize("where", ["include", "quotes"])
def test_suggest_knows_the_profile_that_lxc_takes(host: FakeHost, where: str) -> None:
    host.json({})
    line = f"lxc.apparmor.profile: {BASE}\n"
    lines = (
        f"lxc.include: {FILE}\n" if where == "include" else 'lxc.apparmor.profile: "unconfined"\n'
    )
    host.write(FILE, "lxc.apparmor.profile = unconfined\n")
    host.conf("950", CONF.replace(line, lines).replace("unprivileged: 1\n", ""))
    assert "what reaches the host's kernel (it is unconfined now)" in host.cli("suggest", "950").out
    host.conf("950", CONF.replace(line, lines + line).replace("unprivileged: 1\n", ""))
    assert "unconfined" not in host.cli("suggest", "950").out, "a later line is the last word"


NODE = "lxc.mount.entry: /dev/nvidia0 dev/nvidia0 none bind"


@pytest.mark.parametrize(
    ("options", "severity", "says"),
    [
        (",optional", "warning", "CT 950 does not get /dev/nvidia0: /dev in it begins empty"),
        ("", "error", "CT 950 cannot start: /dev in it begins empty"),
    ],
)
@pytest.mark.parametrize("end", ["", " 0 0"])
def test_a_node_without_a_place(
    host: FakeHost, options: str, severity: str, says: str, end: str
) -> None:
    host.conf("950", CONF.replace("dev0: /dev/nvidia0,gid=44\n", "") + f"{NODE}{options}{end}\n")
    (found,) = diagnose(host)
    assert (found["check"], found["severity"]) == ("ignored-mounts", severity)
    assert says in found["what"]
    run_fix(host, found["fix"])
    line = f"{NODE}{options},create=file{end}\n"
    assert host.read("/etc/pve/lxc/950.conf").decode().endswith(line)
    assert diagnose(host) == []


@pytest.mark.parametrize(
    "text",
    [
        "lxc.autodev: 0\n{node}",
        "lxc.mount.entry: /dev dev none rbind,create=dir\n{node}",
        "lxc.mount.entry: /dev/nvidia0 srv/x none bind,optional\n",
        "lxc.mount.entry: /dev/gone dev/gone none bind,optional\n",
    ],
)
def test_a_node_whose_place_may_be_there(host: FakeHost, text: str) -> None:
    plain = "".join(line for line in CONF.splitlines(True) if not line.startswith("dev"))
    host.conf("950", plain + text.format(node=f"{NODE},optional\n"))
    assert [f for f in diagnose(host) if f["check"] == "ignored-mounts"] == []


def test_a_node_without_a_place_that_an_option_gives(host: FakeHost) -> None:
    """With a place it would be there twice, which ends the start."""
    host.conf("950", f"{CONF}{NODE},optional\n")
    assert diagnose(host) == []
    host.conf("950", f"{CONF}{NODE}\n")
    (found,) = diagnose(host)
    assert "CT 950 cannot start: /dev in it begins empty" in found["what"]
    run_fix(host, found["fix"])
    assert host.read("/etc/pve/lxc/950.conf") == CONF.encode()
