"""Hostile text on its way to a terminal, a log or a table: nothing of it acts."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_apparmor.errors import PhoenixError, one_line, readable
from phoenix_apparmor.terminal.table import Cell, Column, table
from tests.unit.fakehost import FakeHost
from tests.unit.status_host import on_terminal

HOSTILE = (
    "\x1b]0;owned\x07", "\x1b[2J", "\x9b31m", "a\rb", "\x00", "\x7f", "\u202eevil", "\u2066x\u2069",
    "\u200b", "\ufeff", "\u2028", "\u0085", "\udcff", "\ud800", "\U000e0041", "\xad", "\x0b\x0c",
)  # fmt: skip


def acts(text: str) -> list[str]:
    """Characters that a terminal acts on or that nobody sees."""
    return [c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp", "Co")]


@given(st.text(st.characters(), max_size=60) | st.sampled_from(HOSTILE))
def test_no_text_acts(text: str) -> None:
    assert not acts(one_line(text))
    assert not acts(readable(text).replace("\n", "").replace("\t", ""))
    assert readable(text).count("\n") == text.count("\n")
    error = PhoenixError(text, hint=text)
    assert len(str(error).split("\n")) <= 2
    for line in table([Column("A")], [[Cell(text)]], 80, colour=False):
        assert not acts(line)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_plain_text_stays(text: str) -> None:
    assert readable(text) == text
    assert one_line(text) == text.strip()


def test_bytes_that_are_not_utf8_are_shown_as_bytes() -> None:
    assert one_line(b"a\xff".decode("utf-8", "surrogateescape")) == "a\\xff"


ESCAPE = "x\x1b]0;owned\x07\x1b[2J\u202e\x9b1m"


@pytest.mark.slow
def test_no_verb_lets_escape_sequences_through(host: FakeHost) -> None:
    host.confined("950", "lxc-x")
    host.conf("950", f"hostname: {ESCAPE}\nlxc.apparmor.profile: {ESCAPE}\nhookscript: {ESCAPE}\n")
    host.running("950", f"{ESCAPE} (enforce)")
    for verb in (
        ["status"],
        ["doctor"],
        ["validate"],
        ["apply", "950", "--dry-run"],
        ["attach", "950", "--dry-run"],
        ["apply", "950"],
        ["apply", ESCAPE],
        [ESCAPE],
    ):
        for colour in ("", "1"):
            shown = on_terminal(host, *verb, NO_COLOR=colour)
            for bad in ("\x1b]", "\x1b[2J", "\u202e", "\x9b", "\x07"):
                assert bad not in shown, (verb, bad, shown)


def test_a_terminal_of_another_encoding_gets_what_it_can_take(host: FakeHost) -> None:
    host.confined("950", "lxc-x")
    host.conf(
        "950", "hostname: \u20ac\nlxc.apparmor.profile: lxc-\u20ac\n".encode() + b"arch: \xff\n"
    )
    for locale in ("C", "en_US.UTF-8", "en_US.ISO-8859-1", "C.UTF-8"):
        for verb in (["status"], ["apply", "950", "--dry-run"]):
            done = host.cli(*verb, LC_ALL=locale, PYTHONIOENCODING="ascii")
            assert "Traceback" not in done.err, done
            assert done.status in (0, 2), done
