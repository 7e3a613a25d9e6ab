"""status: the real command on fake hosts, whole outputs in golden files."""

import hashlib
import json
import os
import pty
import re
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from phoenix_apparmor import loading
from phoenix_apparmor.host import Host
from tests.unit import denials_host
from tests.unit.fakehost import PYTHON, REPO, FakeHost
from tests.unit.golden import assert_golden

BASE, DOCKER = "lxc-nvidia-gpu-base", "lxc-nvidia-gpu-docker"
LINE = "lxc.apparmor.profile: "


def validated(name: str, text: str) -> Any:
    """A JSON output, checked against the schema that ships."""
    document = json.loads(text)
    schema = json.loads((REPO / f"phoenix_apparmor/{name}.schema.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    jsonschema.validate(document, schema)
    return document


def container(host: FakeHost, ctid: str, name: str, line: str | None) -> None:
    host.conf(ctid, f"arch: amd64\nhostname: {name}\n" + (f"{LINE}{line}\n" if line else ""))


def quiet_host(host: FakeHost) -> None:
    """A Proxmox host on which all is as it should be."""
    host.proxmox()
    md5s = {}
    for name in (BASE, DOCKER):
        path = host.profile(name)
        md5s[name.replace("-", "_")] = hashlib.md5(path.read_bytes()).hexdigest()
    host.dpkg(**md5s)
    host.assign(c950=BASE, c952=DOCKER, c955="unconfined", c960=BASE)
    host.load(BASE, DOCKER)
    container(host, "100", "router", None)
    container(host, "950", "vllm-qwen2.5-7b-awq", BASE)
    container(host, "952", "qdrant-VSCodeRag", DOCKER)
    container(host, "955", "ollama-oWUI", None)
    container(host, "960", "spare", BASE)
    host.running("100", "lxc-100_</var/lib/lxc> (enforce)", 4000)
    host.running("950", f"{BASE} (enforce)", 4001)
    stacked = f"{DOCKER}//&:lxc-952_<-var-lib-lxc>:unconfined (enforce)"
    host.running("952", stacked, 4002)
    host.running(
        "955", "lxc-955_</var/lib/lxc>//&:lxc-955_<-var-lib-lxc>:unconfined (enforce)", 4003
    )


@pytest.fixture
def quiet(host: FakeHost) -> FakeHost:
    quiet_host(host)
    return host


@pytest.fixture
def mixed(quiet: FakeHost) -> FakeHost:
    """A host with one of everything that can be off."""
    host = quiet
    host.json(
        {
            "950": {},
            "951": {"apparmor_profile": DOCKER},
            "952": {"apparmor_profile": DOCKER},
            "953": {"apparmor_profile": "lxc_phoenix_v1"},
            "954": {"apparmor_profile": "lxc-nowhere"},
            "955": {"apparmor_profile": "unconfined"},
            "956": {"apparmor_profile": BASE},
            "957": {"apparmor_profile": BASE},
            "958": {"apparmor_profile": "lxc-mine"},
            "960": {},
            "961": {},
            "970": {},
        }
    )
    container(host, "951", "docker", DOCKER)
    host.running("951", f"{BASE} (enforce)", 4004)
    container(host, "953", "old-name", None)
    container(host, "954", "nowhere", "lxc-nowhere")
    container(host, "956", "escaped", BASE)
    host.running("956", "unconfined", 4005)
    host.conf("957", f"hostname: twice\n{LINE}lxc-x\n{LINE}{BASE}\n")
    container(host, "958", "mine", "lxc-mine")
    container(host, "961", "failed", BASE)
    host.failed("961")
    host.profile("lxc-mine", flags="flags=(complain) ")
    host.load("lxc-mine")
    host.profile(DOCKER, "  # edited and not loaded")
    host.write(f"/etc/apparmor.d/{DOCKER}.dpkg-dist", "new text\n")
    return host


def test_quiet(quiet: FakeHost) -> None:
    done = quiet.cli("status")
    assert_golden("status-quiet.txt", done.out)
    assert (done.status, done.err) == (0, "")


def test_mixed(mixed: FakeHost) -> None:
    done = mixed.cli("status")
    assert_golden("status-mixed.txt", done.out)
    assert (done.status, done.err) == (2, "")
    assert max(map(len, done.out.splitlines())) <= 80


def test_mixed_json(mixed: FakeHost) -> None:
    done = mixed.cli("status", "--json")
    document = validated("status", done.out)
    assert_golden("status-mixed.json", done.out)
    assert done.status == 2
    verdicts = {c["ctid"]: c["verdict"] for c in document["containers"]}
    assert verdicts == {
        "100": "not managed", "950": "ok", "951": "restart pending", "952": "ok",
        "953": "refused", "954": "refused", "955": "ok", "956": "drift", "957": "drift",
        "958": "refused", "960": "down", "961": "refused",
    }  # fmt: skip


def test_one_container(mixed: FakeHost) -> None:
    done = mixed.cli("status", "951")
    assert_golden("status-one.txt", done.out)
    assert done.status == 2


def test_fine_one_of_a_mixed_host(mixed: FakeHost) -> None:
    """Asked about one container, the others' trouble does not count."""
    done = mixed.cli("status", "950")
    assert (done.status, done.err) == (0, "")


def test_only_a_profile_is_off(quiet: FakeHost) -> None:
    """All containers run as assigned, but the kernel has an older text: that is degraded."""
    quiet.profile(BASE, "  # edited and not loaded")
    done = quiet.cli("status", "--json")
    document = validated("status", done.out)
    assert {c["verdict"] for c in document["containers"]} == {"ok", "down", "not managed"}
    assert [p["text"] for p in document["profiles"]] == ["differs", "same"]
    assert (document["fine"], done.status) == (False, 2)


def test_no_containers(host: FakeHost) -> None:
    host.json({})
    done = host.cli("status")
    assert_golden("status-empty.txt", done.out)
    assert done.status == 0


def test_never_a_json(host: FakeHost) -> None:
    container(host, "100", "router", None)
    done = host.cli("status")
    assert_golden("status-no-json.txt", done.out)
    assert done.status == 2


def test_broken_json(quiet: FakeHost) -> None:
    """The last good assignments are shown, and on top why."""
    quiet.cli("apply", "--all")
    quiet.json('{"lxc_configs": {"950": {},}}')
    done = quiet.cli("status")
    assert done.out.startswith("/etc/pve/phoenix_lxc_configs.json cannot be used: ")
    assert "The last good assignments are used." in done.out.replace("\n", " ")
    assert done.out.count(" ok\n") == 3
    assert done.status == 2


def test_cluster(quiet: FakeHost) -> None:
    """Other nodes: what their .conf says is known, what their kernel does is not."""
    local = quiet.path("/etc/pve/lxc")
    node = quiet.path("/etc/pve/nodes/pve1")
    node.mkdir(parents=True)
    local.rename(node / "lxc")
    local.symlink_to("nodes/pve1/lxc")
    quiet.assign(c950=BASE, c952=DOCKER, c955="unconfined", c960=BASE, c970=BASE, c971=DOCKER,
                 c972="lxc_x")  # fmt: skip
    for ctid, name, line in (("970", "there", BASE), ("971", "lags", BASE), ("972", "bad", None)):
        text = f"hostname: {name}\n" + (f"{LINE}{line}\n" if line else "")
        quiet.write(f"/etc/pve/nodes/pve2/lxc/{ctid}.conf", text)
    quiet.write("/etc/pve/nodes/pve2/lxc/200.conf", "hostname: other\n")
    done = quiet.cli("status", "--cluster")
    assert_golden("status-cluster.txt", done.out)
    assert done.status == 2
    here = quiet.cli("status").out
    assert "there" not in here and "3 more in the JSON are not here." in here


def test_prometheus(mixed: FakeHost) -> None:
    done = mixed.cli("status", "--prometheus")
    assert_golden("status-mixed.prom", done.out)
    assert done.status == 2


def test_denials_are_counted(quiet: FakeHost) -> None:
    """By container and profile, from the kernel's log; without a log there is no such metric."""
    assert "_denials" not in quiet.cli("status", "--prometheus").out
    quiet.write("/proc/stat", f"btime {denials_host.BOOT}\n")
    quiet.path("/var/log/journal").mkdir(parents=True)
    own = "lxc-955_</var/lib/lxc>"
    messages = [denials_host.mount(own, n) for n in (1, 2, 3)] + [denials_host.mount("lxc-x", 4)]
    denials_host.journal(quiet, messages)
    out = quiet.cli("status", "--prometheus").out
    assert f'phoenix_apparmor_denials{{ctid="955",profile="{own}"}} 3\n' in out
    assert 'phoenix_apparmor_denials{ctid="",profile="lxc-x"} 1\n' in out


def test_prometheus_escapes(host: FakeHost) -> None:
    host.assign(c100=BASE)
    host.conf("100", b'hostname: a"b\\c\xff\n')
    out = host.cli("status", "--prometheus").out
    assert r'ctid="100",name="a\"b\\c?",verdict="refused"' in out


def test_output_is_replaced_as_a_whole(quiet: FakeHost) -> None:
    folder = quiet.path("/var/lib/prometheus/node-exporter")
    folder.mkdir(parents=True)
    file = folder / "phoenix-apparmor.prom"
    for _ in range(2):
        before = file.stat().st_ino if file.exists() else None
        done = quiet.cli("status", "--prometheus", "--output", str(file))
        assert (done.status, done.out, done.err) == (0, "", "")
        assert file.read_text().startswith("# HELP phoenix_apparmor_fine ")
        assert file.stat().st_mode & 0o777 == 0o644
        assert file.stat().st_ino != before
    assert [path.name for path in folder.iterdir()] == [file.name]


def test_output_that_cannot_be_written(quiet: FakeHost) -> None:
    done = quiet.cli("status", "--prometheus", "--output", "/nonexistent/x.prom")
    assert done.status == 1
    assert done.err.startswith("cannot write /nonexistent/x.prom: No such file or directory.")


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["abc"], 64, '"abc" is no CTID.'),
        (["999"], 1, "CT 999: there is no such container here, and the JSON does not have it."),
        (["--json", "--prometheus"], 64, "not allowed with"),
    ],
)
def test_errors(quiet: FakeHost, arguments: list[str], status: int, said: str) -> None:
    done = quiet.cli("status", *arguments)
    assert said in done.err
    assert (done.status, done.out) == (status, "")


def test_named_container_of_the_json_that_is_not_here(quiet: FakeHost) -> None:
    quiet.assign(c950=BASE, c952=DOCKER, c955="unconfined", c960=BASE, c970=BASE)
    done = quiet.cli("status", "970")
    assert "No containers." in done.out and "1 more in the JSON is not here." in done.out


def test_plain_lxc(host: FakeHost) -> None:
    """Without Proxmox LXC's own configuration is what there is."""
    host.path("/etc/pve/lxc").rmdir()
    host.profile(BASE)
    host.assign(c950=BASE, c951="unconfined")
    host.load(BASE)
    host.runtime("950", f"lxc.uts.name = ai\nlxc.apparmor.profile = {BASE}\n".encode())
    host.runtime("951", b"lxc.uts.name = plain\n")
    host.running("950", f"{BASE} (enforce)", 4001)
    host.running("951", "lxc-container-default-cgns (enforce)", 4002)
    done = host.cli("status", "--json")
    found = {c["ctid"]: c for c in validated("status", done.out)["containers"]}
    assert (found["950"]["name"], found["950"]["in_conf"]) == ("ai", BASE)
    assert [c["verdict"] for c in found.values()] == ["ok", "ok"]
    assert done.status == 0


def test_generated_where_another_profile_runs(quiet: FakeHost) -> None:
    """ "unconfined" is the generated profile: an earlier named one is not it."""
    quiet.running("955", f"{BASE} (enforce)", 4003)
    done = quiet.cli("status", "955")
    assert " restart pending\n" in done.out and done.status == 2


@pytest.mark.parametrize(
    ("label", "verdict"),
    [
        (f"{BASE} (enforce)", "ok"),
        (f"{BASE} (kill)", "ok"),
        (f"{BASE} (complain)", "drift"),
        ("unconfined", "drift"),
        (f"{BASE}//&:lxc-950_<-var-lib-lxc>:docker-default (enforce)", "ok"),
        (f"{BASE}//&:lxc-950_<-var-lib-lxc>:unconfined (enforce)", "ok"),
        (f"{BASE}//&:lxc-950_<-var-lib-lxc>:inner (mixed)", "ok"),
        (f"{BASE}//&:lxc-950_<-var-lib-lxc>:inner (complain)", "drift"),
        # in another container's namespace
        (f"{BASE}//&:lxc-951_<-var-lib-lxc>:unconfined (enforce)", "restart pending"),
        (f"{BASE}//child (enforce)", "restart pending"),
        (f"{BASE}-old (enforce)", "restart pending"),
        ("lxc-950_</var/lib/lxc> (enforce)", "restart pending"),
    ],
)
def test_labels(quiet: FakeHost, label: str, verdict: str) -> None:
    quiet.running("950", label, 4001)
    document = validated("status", quiet.cli("status", "950", "--json").out)
    assert document["containers"][0]["verdict"] == verdict
    assert document["containers"][0]["label"] == label


def test_what_cannot_be_known_is_unknown(quiet: FakeHost) -> None:
    """No /proc/net/unix, a kernel without hashes: no verdict is made up."""
    quiet.path("/proc/net/unix").unlink()
    found = validated("status", quiet.cli("status", "950", "--json").out)
    assert found["containers"][0]["running"] is None
    assert found["containers"][0]["label"] is None
    for path in quiet.path("/sys/kernel/security/apparmor/policy/profiles").glob("*/raw_sha256"):
        path.unlink()
    found = validated("status", quiet.cli("status", "--json").out)
    assert {p["text"] for p in found["profiles"]} == {"unknown"}
    assert "profile_current{" not in quiet.cli("status", "--prometheus").out
    assert found["fine"] is True


def test_file_of_two_profiles_is_the_same_text_either_way(host: FakeHost) -> None:
    """The kernel hashes what was written at once: a profile, or the whole file from the cache."""
    first, second = (loading.BEGIN_OF_PROFILE + name for name in (b"lxc-a ...", b"lxc-b ..."))
    for held, same in ((second, True), (first + second, True), (second + b"x", False)):
        folder = "/sys/kernel/security/apparmor/policy/profiles/lxc-b.7"
        host.write(f"{folder}/raw_sha256", hashlib.sha256(held).hexdigest() + "\n")
        assert loading.is_loaded(Host(str(host.root)), "lxc-b", first + second) is same


def test_thousand_containers(quiet: FakeHost) -> None:
    """The output of a big host that changed its default: seconds, and notes that one can read."""
    ctids = [str(10000 + n) for n in range(1000)]
    quiet.json({ctid: {"apparmor_profile": DOCKER} for ctid in ctids})
    for ctid in ctids:
        container(quiet, ctid, f"ct{ctid}", BASE)
    begin = time.monotonic()
    done = quiet.cli("status")
    assert time.monotonic() - begin < 20
    assert len(re.findall(r"^10\d{3} ", done.out, re.MULTILINE)) == 1000
    assert "CT 10000, 10001, 10002 and 997 more: its .conf says" in done.out
    assert len(done.out.splitlines()) < 1030
    assert "1000 containers" in done.out
    assert max(map(len, done.out.splitlines())) <= 80


def on_terminal(host: FakeHost, *arguments: str, **environment: str) -> str:
    """What the command writes to a terminal of 80 columns, both outputs."""
    pid, fd = pty.fork()
    if pid == 0:
        env = {**host.environment, "PYTHONPATH": str(REPO), "TERM": "xterm", **environment}
        os.chdir("/")
        command = [PYTHON, "-m", "phoenix_apparmor", "--root", str(host.root), *arguments]
        os.execve(PYTHON, command, env)
    parts = []
    while True:
        try:
            part = os.read(fd, 1 << 16)
        except OSError:  # EIO: the other end has closed
            break
        if not part:
            break
        parts.append(part)
    os.close(fd)
    os.waitpid(pid, 0)
    return b"".join(parts).decode()


def test_colour_and_progress_on_a_terminal_only(mixed: FakeHost) -> None:
    shown = on_terminal(mixed, "status", COLUMNS="80")
    assert "\x1b[32mok\x1b[0m" in shown
    assert "\x1b[31munconfined\x1b[0m" in shown
    assert f"compiling {BASE} …" in shown
    for plain in (
        on_terminal(mixed, "status", COLUMNS="80", NO_COLOR="1"),
        on_terminal(mixed, "status", COLUMNS="80", TERM="dumb"),
    ):
        assert "\x1b[3" not in plain
    piped = mixed.cli("status", "--json")
    assert "\x1b" not in piped.out + piped.err
    assert "\x1b" not in mixed.cli("status").out


def test_wide_terminal_cuts_nothing(mixed: FakeHost) -> None:
    shown = on_terminal(mixed, "status", COLUMNS="200", NO_COLOR="1")
    assert "…" not in shown.replace(" …", "")
    assert "vllm-qwen2.5-7b-awq" in shown


def test_names_that_would_break_a_table(quiet: FakeHost) -> None:
    quiet.conf("950", "hostname: \x1b[31mred\tx\n" + f"{LINE}{BASE}\n")
    quiet.conf("960", f"hostname: 容器容器容器\n{LINE}{BASE}\n")
    out = quiet.cli("status").out
    assert "\x1b" not in out and "\t" not in out
    assert "\\x1b[31mred" in out
    assert "容器容器容器" in out
    # each of the six characters takes two columns
    row = next(line for line in out.splitlines() if line.startswith("960"))
    assert row.index(" down") + 6 == out.splitlines()[0].index(" VERDICT")


def test_reads_only(quiet: FakeHost) -> None:
    """Nothing of the host changes but the lock's own file."""

    def state() -> dict[str, bytes]:
        files = (path for path in quiet.root.rglob("*") if path.is_file())
        skipped = ("fake-parser-calls", "assignments.lock")
        return {str(path): path.read_bytes() for path in files if path.name not in skipped}

    before = state()
    quiet.cli("status")
    quiet.cli("status", "--json", "--cluster")
    assert state() == before


def test_as_another_user(quiet: FakeHost) -> None:
    """/etc/pve is root's: who may not read it is told so, without a traceback."""
    quiet.path("/etc/pve").chmod(0o700)
    done = quiet.cli_as_nobody("status")
    assert done.status == 1
    assert "Traceback" not in done.err
    assert "Run it as root." in done.err


def test_golden_files_are_all_used() -> None:
    """A golden file that no test writes any more would only mislead."""
    folder = Path(__file__).parent
    tests = "".join(path.read_text() for path in folder.glob("test_*.py"))
    for path in (folder / "golden").iterdir():
        assert f'"{path.name}"' in tests, path.name
