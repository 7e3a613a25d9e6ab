"""profiles/chains.py: the chains of the profiles, and what the real parser makes of them."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from phoenix_apparmor.policy import aare
from tests.build import TREE
from tests.unit.policydfa import Automaton, compile_rules


@pytest.fixture(scope="module")
def chains() -> ModuleType:
    spec = importlib.util.spec_from_file_location("chains", TREE / "profiles/chains.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_is_shipped_is_what_it_writes(chains: ModuleType) -> None:
    written: dict[str, str] = chains.written()
    assert len(written) == 8
    for name, text in written.items():
        assert (TREE / "profiles/abstractions/phoenix" / name).read_text() == text, name
        assert max(map(len, text.splitlines())) <= 512, name
        assert "<all but" not in text, name


NAMES = ["proc/**", "run/", "run/systemd/unit-root/**"]
IN = ["proc/", "proc/x", "run/", "run/systemd/unit-root/", "run/systemd/unit-root/x/"]
OUT = ["a", "a/", "p/", "pr/", "pro/", "procs/", "proc.d/x", "r/", "ru/", "runs/", "run/x/",
       "run/systemd/", "run/systemd/u/", "run/systemd/unit-roots/", "\x01", "ÿ/"]  # fmt: skip


def whole(chains: ModuleType, rule: str) -> str:
    """The rules that a line of a source becomes."""
    return "".join(chains._rules(f"{rule}\n"))


def mounts(policy: Automaton, target: str) -> bool:
    before = policy.walk(b"\x07/" + target.encode() + b"\0")
    return policy.accepts(policy.walk(b"none\0proc\0", before)) if before else False


def test_all_but_is_all_but(chains: ModuleType, tmp_path: Path) -> None:
    rules = whole(chains, f"mount fstype=proc -> /<all but {' '.join(NAMES)}>,")
    (policy,) = compile_rules(rules, tmp_path)
    assert [name for name in IN if mounts(policy, name)] == []
    assert [name for name in OUT if not mounts(policy, name)] == []


def test_our_own_reader_takes_them_as_the_parser_does(chains: ModuleType) -> None:
    for parts in (
        chains.all_but(NAMES, fields=True),
        chains.all_but(NAMES, fields=False),
        chains.all_but_places(NAMES, 500),
        chains.all_but_places(NAMES, 20),
    ):
        pattern = "/{" + ",".join(parts) + "}"
        assert [name for name in IN if aare.matches(pattern, f"/{name}")] == []
        assert [name for name in OUT if not aare.matches(pattern, f"/{name}")] == []


def test_for_mounts_a_name_may_end_anywhere(chains: ModuleType, tmp_path: Path) -> None:
    """Else "/p" is a place of its own in each policy, with all that may be mounted there."""
    rules = whole(chains, "mount fstype=proc -> /<all but proc/ run/x/**>,")
    (policy,) = compile_rules(rules, tmp_path)
    for name, there in {"p": True, "pr": True, "proc": True, "proc/": False, "proc/x": True,
                        "run": True, "run/": True, "run/x": True, "run/x/": False,
                        "run/x/y": False}.items():  # fmt: skip
        assert mounts(policy, name) is there, name


def test_a_part_that_finds_no_room_is_a_line_of_its_own(chains: ModuleType) -> None:
    """(Once it was written for ever.)"""
    long = "/x" * 250
    for line in (f"deny mount {long} -> /<all but proc/**>,", f"deny {long}/<all but proc/**> w,"):
        assert len(whole(chains, line).splitlines()) > 1


def test_a_long_one_becomes_several_rules_that_mean_the_same(chains: ModuleType) -> None:
    names = [f"{'x' * 40}{letter}/**" for letter in "abcdefgh"]
    rules = whole(chains, f"deny mount fstype=proc -> /<all but {' '.join(names)}>,").splitlines()
    assert len(rules) > 1 and max(map(len, rules)) <= 512
    patterns = [rule.rsplit("-> ", 1)[1].rstrip(",") for rule in rules]
    for name, there in {"y": True, "xx/": True, f"{'x' * 40}a/": False, f"{'x' * 40}i/": True,
                        f"{'x' * 40}h/b": False}.items():  # fmt: skip
        assert any(aare.matches(pattern, f"/{name}") for pattern in patterns) is there, name


def test_no_chain_runs_over_the_end_of_a_field(chains: ModuleType, tmp_path: Path) -> None:
    """AppArmor's [^r] is the zero byte too, which ends a field of a mount: "/p" and the device
    after it would be one mount point. Nothing but a bigger policy came of it, as far as is known.
    """
    ours = whole(chains, "mount fstype=proc -> /<all but pr**>,")
    (policy,) = compile_rules(ours, tmp_path)
    over = b"\x07/p\0device\0source\0proc\0"
    assert not policy.accepts(policy.walk(over))
    (plain,) = compile_rules("mount fstype=proc -> /{[^p],p[^r]}**,", tmp_path)
    assert plain.accepts(plain.walk(over))
