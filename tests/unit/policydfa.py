"""What a compiled policy matches: the automata in the bytes that apparmor_parser writes.

The kernel's security/apparmor/match.c reads the same tables. With them a test knows every name
that a rule matches, not only that the rule compiled.
"""

import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

MAGIC = struct.pack(">I", 0x1B5E783D)
ACCEPT, BASE, CHECK, DEFAULT, CLASSES, ACCEPT_QUIET, NEXT = 1, 2, 3, 4, 5, 7, 8
FORMATS = {1: ">%dB", 2: ">%dH", 4: ">%dI"}
DIFF_ENCODE = 0x80000000
PARSER = "/usr/sbin/apparmor_parser"
ABI = "/etc/apparmor.d/abi/3.0"


class Automaton:
    """One DFA: state 1 is where it begins, state 0 is where nothing matches any more."""

    def __init__(self, data: bytes) -> None:
        self.tables: dict[int, tuple[int, ...]] = {}
        _, header, size = struct.unpack_from(">III", data)
        at = header
        while at < size:
            number, width, _, length = struct.unpack_from(">HHII", data, at)
            self.tables[number] = struct.unpack_from(FORMATS[width] % length, data, at + 12)
            at += 12 + width * length
            at += -at % 8

    def step(self, state: int, byte: int) -> int:
        byte = self.tables[CLASSES][byte] if CLASSES in self.tables else byte
        base, check = self.tables[BASE], self.tables[CHECK]
        while True:
            place = (base[state] & 0xFFFFFF) + byte
            if check[place] == state:
                return self.tables[NEXT][place]
            if not base[state] & DIFF_ENCODE:
                return self.tables[DEFAULT][state]
            state = self.tables[DEFAULT][state]

    def walk(self, text: bytes, state: int = 1) -> int:
        for byte in text:
            state = self.step(state, byte)
        return state

    def accepts(self, state: int) -> bool:
        return bool(state and self.tables[ACCEPT][state])

    def is_as(self, other: "Automaton") -> bool:
        """Whether both say the same of every text."""
        seen = {(1, 1)}
        todo = [(1, 1)]
        while todo:
            ours, theirs = todo.pop()
            for table in (ACCEPT, ACCEPT_QUIET):
                if self.tables[table][ours] != other.tables[table][theirs]:
                    return False
            pairs = {(self.step(ours, byte), other.step(theirs, byte)) for byte in range(256)}
            todo += pairs - seen
            seen |= pairs
        return True

    def words(self, before: bytes, *, ended: bool) -> Iterator[bytes]:
        """All that may follow before: up to where it accepts, or (ended) up to a zero byte."""
        start = self.walk(before)
        todo = [(start, b"")] if start else []
        while todo:
            state, text = todo.pop()
            if not ended and self.accepts(state):
                yield text
            # more than any name that a test gives: a loop
            if len(text) > 200:
                yield b"no end"
                return
            for byte in range(256):
                after = self.step(state, byte)
                if not after:
                    continue
                if byte:
                    todo.append((after, text + bytes([byte])))
                elif ended:
                    yield text


def compile_rules(rules: str, folder: Path) -> list[Automaton]:
    """The automata of a profile with these rules; AssertionError where they do not compile."""
    done = run_parser(rules, folder)
    assert done.returncode == 0 and b"error" not in done.stderr, (rules, done.stderr)
    return automata(done.stdout)


def automata(policy: bytes) -> list[Automaton]:
    """All automata of a compiled policy."""
    found = []
    at = policy.find(MAGIC)
    while at >= 0:
        found.append(Automaton(policy[at:]))
        at = policy.find(MAGIC, at + 1)
    return found


def run_parser(rules: str, folder: Path) -> "subprocess.CompletedProcess[bytes]":
    profile = folder / "profile"
    profile.write_text(f"abi <abi/3.0>,\nprofile x {{\n{rules}\n}}\n")
    # without a kernel to ask, the parser leaves out all classes but files
    features = f"--features-file={ABI}"
    command = [PARSER, "-QKS", "--config-file=/dev/null", features, str(profile)]
    return subprocess.run(command, capture_output=True, check=False)
