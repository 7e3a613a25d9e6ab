"""status --prometheus: what is written, and where to."""

from tests.names import BASE
from tests.unit import denials_host
from tests.unit.fakehost import FakeHost
from tests.unit.golden import assert_golden


def test_metrics_say_what_status_says(mixed: FakeHost) -> None:
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
