"""status: the real command on fake hosts, whole outputs in golden files."""

import json
import re
import time
from pathlib import Path

import pytest

from phoenix_apparmor import __version__, paths
from tests.names import BASE, DOCKER
from tests.unit.fakehost import FakeHost
from tests.unit.golden import assert_golden
from tests.unit.status_host import LINE, container, on_terminal, validated


def test_a_host_on_which_all_is_well(quiet: FakeHost) -> None:
    done = quiet.cli("status")
    assert_golden("status-quiet.txt", done.out)
    assert (done.status, done.err) == (0, "")


def test_a_host_with_one_of_each_verdict(mixed: FakeHost) -> None:
    done = mixed.cli("status")
    assert_golden("status-mixed.txt", done.out)
    assert (done.status, done.err) == (2, "")


def test_names_are_cut_for_a_terminal_only(mixed: FakeHost) -> None:
    """Whole names in a pipe; 80 columns on a terminal that has no more."""
    assert "…" not in mixed.cli("status").out
    shown = re.sub(r"\x1b\[[0-9;]*[mK]", "", on_terminal(mixed, "status"))
    table = shown[shown.index("CTID ") :].partition("\r\n\r\n")[0].split("\r\n")
    assert "…" in table[2] and max(map(len, table)) <= 80


def test_a_profile_that_root_gets_out_of_is_off(quiet: FakeHost) -> None:
    quiet.profile("lxc-open", "  change_profile -> unconfined,")
    quiet.load("lxc-open")
    quiet.assign(c950="lxc-open", c952=DOCKER, c955="unconfined", c960=BASE)
    done = quiet.cli("status")
    assert done.status == 2
    assert "lxc-open: it does not confine root in a privileged container" in done.out


@pytest.mark.parametrize(
    ("mode", "said"), [("complain", "only logs"), ("unconfined", "is not enforced")]
)
def test_what_each_mode_does(quiet: FakeHost, mode: str, said: str) -> None:
    quiet.running("950", f"{BASE} ({mode})")
    shown = " ".join(quiet.cli("status", "950").out.split())
    assert f"runs under {BASE} ({mode}), which {said}" in shown


def test_a_trial_that_begins_at_the_next_start(quiet: FakeHost) -> None:
    quiet.json({"950": {"apparmor_mode": "trial"}})
    quiet.running("950", f"{BASE} (enforce)")
    assert f"runs under {BASE}; assigned: {BASE} in a trial." in " ".join(
        quiet.cli("status", "950").out.split()
    )


@pytest.mark.parametrize(
    ("entry", "label", "said"),
    [
        (
            {"apparmor_rules": ["/x r,"]},
            f"{BASE} (enforce)",
            f"runs under {BASE}; assigned: {BASE} with 1 rule of its own.",
        ),
        (
            {"apparmor_rules": ["/x r,", "/y r,"], "apparmor_mode": "trial"},
            f"{BASE} (enforce)",
            f"runs under {BASE}; assigned: {BASE} in a trial with 2 rules of its own.",
        ),
        ({}, f"{BASE}.950 (enforce)", f"runs under {BASE}.950; assigned: {BASE}."),
        (
            {},
            f"{BASE}//&:lxc-951_<-var-lib-lxc>:unconfined (enforce)",
            f"runs under {BASE}//&:lxc-951_<-var-lib-lxc>:unconfined; assigned: {BASE}.",
        ),
    ],
)
def test_what_runs_and_what_is_assigned_are_never_called_the_same(
    quiet: FakeHost, entry: dict[str, object], label: str, said: str
) -> None:
    quiet.json({"950": entry})
    quiet.running("950", label, 4001)
    (found,) = json.loads(quiet.cli("status", "950", "--json").out)["containers"]
    assert (found["verdict"], found["notes"][0]["what"]) == ("restart pending", said)


@pytest.mark.parametrize(
    "entry",
    [
        {"apparmor_mode": "complain"},
        {"apparmor_profile": "lxc_nvidia_gpu_docker"},
        {"apparmor_rules": ["/x r"]},
    ],
)
def test_an_invalid_entry_refuses_only_where_there_was_never_a_good_one(
    quiet: FakeHost, entry: dict[str, object]
) -> None:
    """As the help and the man page say: the start goes on with the last good assignment."""
    assert quiet.cli("apply", "--all").status == 0
    container(quiet, "970", "new", BASE)
    for ctid in ("960", "970"):
        quiet.runtime(ctid)
    quiet.json({"960": entry, "970": entry})
    done = quiet.cli("status", "--json")
    found = {c["ctid"]: c for c in json.loads(done.out)["containers"]}
    assert [found[ctid]["verdict"] for ctid in ("960", "970")] == ["drift", "refused"]
    assert [quiet.hook(ctid).status for ctid in ("960", "970")] == [0, 1]
    verdicts = " ".join(quiet.cli("status", "--help").out.split())
    _, _, drift = verdicts.partition(" drift ")
    drift, _, refused = drift.partition(" refused ")
    assert "its entry in the JSON is invalid and the last good one is used" in drift
    assert "invalid" not in refused.partition(" down ")[0]


def test_each_verdict_is_in_the_json(mixed: FakeHost) -> None:
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


def test_status_of_one_container_is_the_golden_text(mixed: FakeHost) -> None:
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


def test_a_host_without_containers_is_fine(host: FakeHost) -> None:
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
    assert done.out.startswith("/etc/pve/phoenix_lxc_configs.json is not used: ")
    assert "The last good assignments are used." in done.out.replace("\n", " ")
    assert done.out.count(" ok\n") == 3
    assert done.status == 2


def test_cluster_shows_the_other_nodes(quiet: FakeHost) -> None:
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
    assert_golden("status-cluster.txt", done.out.replace(__version__.ljust(7), "VERSION"))
    assert done.status == 2
    here = " ".join(quiet.cli("status").out.split())
    assert "there" not in here and "3 more in the JSON are not on this node." in here


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["abc"], 64, '"abc" is not a valid CTID.'),
        (["999"], 1, "CT 999: there is no such container here, and the JSON does not have it."),
        (["--json", "--prometheus"], 64, "not allowed with"),
    ],
)
def test_what_cannot_be_answered_is_refused(
    quiet: FakeHost, arguments: list[str], status: int, said: str
) -> None:
    done = quiet.cli("status", *arguments)
    assert said in done.err
    assert (done.status, done.out) == (status, "")


def test_named_container_of_the_json_that_is_not_here(quiet: FakeHost) -> None:
    quiet.assign(c950=BASE, c952=DOCKER, c955="unconfined", c960=BASE, c970=BASE)
    done = quiet.cli("status", "970")
    assert "No containers." in done.out and "1 more in the JSON is not on this node." in done.out


def test_plain_lxc_is_read_where_no_proxmox_is(host: FakeHost) -> None:
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
def test_the_verdict_follows_the_label(quiet: FakeHost, label: str, verdict: str) -> None:
    quiet.running("950", label, 4001)
    document = validated("status", quiet.cli("status", "950", "--json").out)
    assert document["containers"][0]["verdict"] == verdict
    assert document["containers"][0]["label"] == label


def test_a_stack_whose_outer_profile_only_logs(quiet: FakeHost) -> None:
    """ "mixed" as well, once root inside has loaded a profile that enforces."""
    label = f"{BASE}//&:lxc-950_<-var-lib-lxc>:x//&{DOCKER}"
    quiet.running("950", f"{label} (mixed)", 4001)
    quiet.profile(BASE, flags="flags=(complain) ")
    quiet.load(BASE)
    document = validated("status", quiet.cli("status", "950", "--json").out)
    found = document["containers"][0]
    assert (found["verdict"], found["label"]) == ("drift", f"{label} (complain)")


@pytest.mark.parametrize(
    ("label", "verdict"),
    [
        ("lxc-955_</var/lib/lxc> (enforce)", "ok"),
        ("lxc-955_</var/lib/lxc> (complain)", "drift"),
        ("lxc-container-default (enforce)", "ok"),
        ("lxc-container-default-cgns (complain)", "drift"),
        ("lxc-container-default-with-nesting (enforce)", "restart pending"),
    ],
)
def test_what_no_profile_line_may_be(quiet: FakeHost, label: str, verdict: str) -> None:
    quiet.running("955", label, 4003)
    document = validated("status", quiet.cli("status", "955", "--json").out)
    assert document["containers"][0]["verdict"] == verdict


def test_a_thousand_containers_take_seconds_and_short_notes(quiet: FakeHost) -> None:
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


def test_status_changes_nothing_of_the_host(quiet: FakeHost) -> None:
    """Nothing changes but the lock's own file, and what is kept of the parser's work."""

    def state() -> dict[str, bytes]:
        files = (path for path in quiet.root.rglob("*") if path.is_file())
        skipped = ("fake-parser-calls", "assignments.lock")
        return {
            str(path): path.read_bytes()
            for path in files
            if path.name not in skipped and paths.COMPILED not in str(path)
        }

    before = state()
    quiet.cli("status")
    quiet.cli("status", "--json", "--cluster")
    assert state() == before


def test_golden_files_are_all_used() -> None:
    """A golden file that no test writes any more would only mislead."""
    folder = Path(__file__).parent
    tests = "".join(path.read_text() for path in folder.glob("test_*.py"))
    for path in (folder / "golden").iterdir():
        assert f'"{path.name}"' in tests, path.name


@pytest.mark.parametrize(
    ("flags", "folder", "says", "not_said"),
    [
        ("flags=(unconfined) ", "", 'Remove "unconfined" from', "complain"),
        ("", "force-complain", "puts it into complain mode", "switches it off"),
        ("", "disable", "switches it off", "complain mode"),
    ],
)
def test_why_a_profile_stops_nothing(
    quiet: FakeHost, flags: str, folder: str, says: str, not_said: str
) -> None:
    if flags:
        quiet.profile(BASE, flags=flags)
        quiet.kernel({BASE: "unconfined", DOCKER: "enforce"})
    else:
        quiet.write(f"/etc/apparmor.d/{folder}/{BASE}", "")
    said = " ".join(quiet.cli("status").out.split())
    assert says in said and not_said not in said


@pytest.mark.parametrize("share", ["mp0: /srv/models,mp=/models,ro=1\n", "mp0: /srv/w,mp=/w\n"])
@pytest.mark.parametrize("most", ["0\n", "1000\n"])
def test_what_a_start_cannot_lock_is_said(quiet: FakeHost, share: str, most: str) -> None:
    quiet.write("/proc/sys/user/max_user_namespaces", most)
    conf = quiet.path("/etc/pve/lxc/950.conf")
    conf.write_text(share + conf.read_text())
    (notes,) = [
        [note["what"] for note in found["notes"]]
        for found in json.loads(quiet.cli("status", "--json").out)["containers"]
        if found["ctid"] == "950"
    ]
    said = [what for what in notes if "may make writable" in what]
    assert len(said) == ("ro=1" in share and most == "0\n")
