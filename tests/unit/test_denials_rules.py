"""Rules from hostile names: each compiles, matches that very name and nothing else."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from phoenix_apparmor.denials import names, quoting, vocabulary
from tests.unit.denials_formats import FORMATS, act
from tests.unit.policydfa import compile_rules, run_parser

EVIL = (
    b'", change_profile -> unconfined, #/ "',
    b"a/ \\",
    b"a\\",
    b"wow!",
    b"x,y {a,b} [c] *?^ @{PROC} $x",
    b"\n  change_profile -> unconfined,\n",
    b"\xff\xfe\x1b[31m",
    b"%s\\134\\x41\\\\",
)
hostile = st.one_of(
    st.sampled_from(EVIL), st.binary(min_size=1, max_size=12).filter(lambda b: 0 not in b)
)
slow = settings(max_examples=40, deadline=None)


def matched(rule: str, before: bytes, *, ended: bool) -> list[bytes]:
    """All names with a beginning that a rule matches, of all its automata."""
    with tempfile.TemporaryDirectory() as folder:
        automata = compile_rules(rule, Path(folder))
    found: list[bytes] = []
    for automaton in automata:
        for word in automaton.words(before, ended=ended):
            found.append(word)
            assert len(found) < 5, (rule, found)
    return found


def is_plain(raw: bytes) -> bool:
    """Whether nothing in it is taken for a part that changes."""
    name = raw.decode("utf-8", "surrogateescape")
    return not any(part.wild for part in names.generic(name)) and quoting.is_path(name)


CLASSES = {
    "file": ('operation="open" class="file" name={} denied_mask="r"', b"/n", b"", False),
    "mount": (
        'operation="mount" class="mount" name={} fstype="tmpfs" srcname="x" flags="rw"',
        b"/n",
        b"\x07",
        True,
    ),
    "bound": (
        'operation="mount" class="mount" name="/m" srcname={} flags="rw, bind"',
        b"/n",
        b"\x07/m\0",
        True,
    ),
    "umount": ('operation="umount" class="mount" name={}', b"/n", b"\x07", False),
    "pivot_root": (
        'operation="pivotroot" class="mount" name={} srcname="/o"',
        b"/n",
        b"\x07",
        True,
    ),
    "profile": ('operation="change_profile" class="file" target={}', b"n", b"", False),
    "ptrace": (
        'operation="ptrace" class="ptrace" denied_mask="read" peer={}',
        b"n",
        b"\x09",
        False,
    ),
    "signal": (
        'operation="signal" class="signal" denied_mask="send" signal=kill peer={}',
        b"n",
        b"\x0a\x09",
        False,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CLASSES)
@slow
@given(tail=hostile)
def test_a_rule_matches_that_very_name_and_nothing_else(case: str, tail: bytes) -> None:
    body, begin, before, ended = CLASSES[case]
    name = begin + tail
    if begin.startswith(b"/"):
        assume(is_plain(name))
    rule = act(body.format(name.hex().upper())).rule
    assert rule
    assert matched(rule, before + begin, ended=ended) == [tail]


def test_that_test_sees_a_wider_rule(tmp_path: Path) -> None:
    for rule in ('"/n*" r,', '"/n?" r,', '"/n{a,b}" r,', "/nx r,\n/ny r,", '"/n[ab]" r,'):
        words = [
            word
            for automaton in compile_rules(rule, tmp_path)
            for word, _ in zip(automaton.words(b"/n", ended=False), range(3), strict=False)
        ]
        assert len(words) > 1, rule


OPERATIONS = (
    "open", "mknod", "exec", "link", "mount", "umount", "pivotroot", "ptrace", "signal", "capable",
    "create", "connect", "bind", "file_lock", "change_onexec", "change_hat", "userns_create",
    "uring_sqpoll", "dbus_method_call", "dbus_bind", "profile_load",
)  # fmt: skip
CLASS_WORDS = ("file", "mount", "net", "ptrace", "signal", "cap", "posix_mqueue", "sysv_mqueue",
               "io_uring", "dbus", "namespace", "")  # fmt: skip
# What the kernel writes as it is, between quotes or bare.
word = st.one_of(
    st.sampled_from(
        ("rw", "send", "receive", "read", "unix", "inet", "stream", "tmpfs", "kill", "system",
         "sys_admin", "rw, bind", "rw, move", "create", "r", "x", "wc")
    ),
    st.sampled_from([evil.decode("latin-1").replace('"', "'") for evil in EVIL]),
    st.text("".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != '"'), max_size=12),
)  # fmt: skip
KERNEL_WORDS = (
    "info", "flags", "signal", "family", "sock_type", "denied_mask", "denied", "bus", "mask",
    "interface", "member",
)  # fmt: skip
CHOSEN = ("name", "srcname", "fstype", "target", "peer", "addr", "peer_addr", "capname", "path",
          "tcontext", "peer_label")  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_whatever_is_in_a_message_makes_one_rule_or_none(data: st.DataObject) -> None:
    """With a rule behind it, which an open quote would swallow; nothing else may be allowed."""
    operation = data.draw(st.sampled_from(OPERATIONS))
    body = f'operation="{operation}" class="{data.draw(st.sampled_from(CLASS_WORDS))}"'
    for key in data.draw(st.sets(st.sampled_from(KERNEL_WORDS))):
        body += f' {key}="{data.draw(word)}"'
    for key in data.draw(st.sets(st.sampled_from(CHOSEN))):
        raw = data.draw(st.sampled_from((b"/", b"@", b"", b"x"))) + data.draw(hostile)
        body += f" {key}={raw.hex().upper()}"
    done = act(body)
    assert done.words.isprintable() and done.note.isprintable() and done.rule.isprintable()
    if not done.rule or done.needs_4:
        return
    with tempfile.TemporaryDirectory() as folder:
        automata = compile_rules(f'{done.rule}\n"/sentinel" r,', Path(folder))
    assert any(a.accepts(a.walk(b"/sentinel")) for a in automata), done.rule
    if not done.rule.startswith(("change_profile", '"/', "link")):
        for name in (b"unconfined", b"/unconfined", b"/etc/shadow", b"/n"):
            assert not any(a.accepts(a.walk(name)) for a in automata), done.rule


def test_the_attack_that_was_tried(tmp_path: Path) -> None:
    """mount(", change_profile -> unconfined, #/ ", "/srv", "fuse.a/ \\", 0, "")."""
    source, fstype = b'", change_profile -> unconfined, #/ "', b"fuse.a/ \\"
    done = act(
        f'operation="mount" class="mount" name="/srv/" srcname={source.hex()} fstype={fstype.hex()}'
    )
    assert done.rule == "" and "not a known type of file system" in done.note
    done = act(
        f'operation="mount" class="mount" name="/srv/" srcname={source.hex()} fstype="fuse.sshfs"'
    )
    assert done.rule
    (automaton,) = compile_rules(done.rule, tmp_path)
    assert not automaton.accepts(automaton.walk(b"unconfined"))


@pytest.mark.parametrize(
    ("said", "address", "other"),
    [
        # the kernel writes such a name in hex where a byte of it cannot be printed
        ("@2F636F6E7461696E6572642F612E736F636B0000", b"/containerd/a.sock\0\0", b"/x.sock\0\0"),
        ("@6100622063", b"a\0b c", b"a\0b d"),
        ("@00", b"\0", b"\0\0"),
        ("@FF41", b"\xffA", b"FF41"),
        ("@a///b", b"a///b", b"a/b"),
        ("@" + (b"x" + b"\0" * 9).hex().upper(), b"x" + b"\0" * 9, b"y" + b"\0" * 9),
        # and this one as it is
        ("@4142", b"4142", b"AB"),
        ("@2F63", b"2F63", b"/c"),
        ("@/x/y", b"/x/y", b"/x/z"),
    ],
)
def test_an_abstract_address(said: str, address: bytes, other: bytes, tmp_path: Path) -> None:
    rule = act(
        'operation="connect" class="unix" family="unix" sock_type="stream" addr=none '
        f'requested_mask="connect" denied_mask="connect" peer_addr="{said}" peer="lxc-web"'
    ).rule
    (automaton,) = compile_rules(rule, tmp_path)

    def allows(name: bytes) -> bool:
        # class, family, type, protocol; own address and label; then the other's
        state = automaton.walk(b"\x0e\0\x01\0\x01\0\0" + b"\0" + b"lxc-own" + b"\0\x01")
        return automaton.accepts(automaton.walk(b"\0" + name + b"\0lxc-web", state))

    assert allows(address) and not allows(other), rule


@pytest.mark.parametrize("name", [b"/tmp/a\\", b"/opt/wow!"])
def test_names_that_broke_the_profile(name: bytes) -> None:
    rule = act(f'operation="open" name={name.hex()} denied_mask="w"').rule
    assert matched(rule, name[:3], ended=False) == [name[3:]]


def test_every_known_word_compiles(tmp_path: Path) -> None:
    """A word that the parser does not know would break the profile."""
    rules = [f"capability {name}," for name in vocabulary.CAPABILITIES]
    rules += [f"signal (send) set=({name})," for name in (*vocabulary.SIGNALS, "rtmin+3")]
    rules += [f"network {family} stream," for family in vocabulary.FAMILIES]
    rules += [f"network inet {kind}," for kind in vocabulary.SOCKETS]
    rules += [f'mount fstype={name} options=(rw) -> "/x/",' for name in vocabulary.FILE_SYSTEMS]
    rules += [f"unix ({way}) type=stream," for way in vocabulary.UNIX]
    rules += [f"ptrace ({way})," for way in vocabulary.PTRACE]
    flags = vocabulary.MOUNT_FLAGS - vocabulary.PROPAGATION - {"bind", "rbind", "move", "remount"}
    rules += [f'mount options=(rw,{flag}) -> "/x/",' for flag in flags - {"ro", "rw"}]
    compile_rules("\n".join(rules), tmp_path)


@pytest.mark.parametrize("body", FORMATS, ids=[body[:60] for body in FORMATS])
def test_every_format_of_the_kernel(body: str, tmp_path: Path) -> None:
    """Of each format that kernels wrote since 2010: words, and a rule that compiles or none."""
    done = act(body)
    assert done.words and done.words.isprintable()
    if done.rule and not done.needs_4:
        compile_rules(done.rule, tmp_path)
    assert done.rule or done.note or done.words.startswith("do ")


def test_what_the_parser_of_3_does_not_know_is_said_so(tmp_path: Path) -> None:
    newer = [done.rule for done in (act(body) for body in FORMATS) if done.needs_4]
    assert {rule.split(" ")[0] for rule in newer} == {"userns", "mqueue", "io_uring"}
    for rule in newer:
        done = run_parser(rule, tmp_path)
        # AppArmor 4 takes them, 3.0 does not
        assert done.returncode == 0 or b"syntax error" in done.stderr
