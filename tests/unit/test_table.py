"""The table of status on a terminal and in a pipe."""

from tests.names import BASE
from tests.unit.fakehost import FakeHost
from tests.unit.status_host import LINE, on_terminal


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
