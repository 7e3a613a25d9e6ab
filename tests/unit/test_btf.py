"""Where a kernel has what in its structures: by BTF that is made here, and by this machine's."""

import struct
from pathlib import Path

import pytest

from phoenix_apparmor import btf, guardprogram

INT, PTR, STRUCT, UNION, ENUM, TYPEDEF, CONST, FUNC, PROTO = 1, 2, 4, 5, 6, 8, 10, 12, 13


class Made:
    """BTF as Documentation/bpf/btf.rst has it."""

    def __init__(self) -> None:
        self.types, self.strings, self.count = b"", b"\0", 0

    def name(self, text: str) -> int:
        if not text:
            return 0
        at = len(self.strings)
        self.strings += text.encode() + b"\0"
        return at

    def add(
        self, kind: int, name: str, size: int, rest: bytes = b"", count: int = 0, flag: int = 0
    ) -> int:
        info = kind << 24 | count | flag << 31
        self.types += struct.pack("<III", self.name(name), info, size) + rest
        self.count += 1
        return self.count

    def structure(
        self,
        name: str,
        size: int,
        *members: tuple[str, int, int],
        kind: int = STRUCT,
        flag: int = 0,
    ) -> int:
        rest = b"".join(
            struct.pack("<III", self.name(member), of, bits) for member, of, bits in members
        )
        return self.add(kind, name, size, rest, len(members), flag)

    def data(self, magic: int = btf.MAGIC) -> bytes:
        sizes = (0, len(self.types), len(self.types), len(self.strings))
        return struct.pack("<HBBIIIII", magic, 1, 0, 24, *sizes) + self.types + self.strings


def made() -> Made:
    b = Made()
    word = b.add(INT, "unsigned long", 8, struct.pack("<I", 64))
    inner = b.structure("", 16, ("first", word, 0), ("second", word, 64))
    either = b.structure("", 16, ("plain", word, 0), ("", inner, 0), kind=UNION)
    renamed = b.add(TYPEDEF, "either_t", either)
    kept = b.add(CONST, "", renamed)
    b.structure("thing", 40, ("begin", word, 0), ("", kept, 64), ("end", word, 192))
    # With widths beside the offsets, as where there are bit fields.
    b.structure("narrow", 8, ("bits", word, 3 << 24), ("after", word, 32), flag=1)
    values = b"".join(struct.pack("<Ii", b.name(n), v) for n, v in (("NONE", -1), ("SOME", 7)))
    b.add(ENUM, "choice", 4, values, 2)
    proto = b.add(PROTO, "", word, struct.pack("<II", b.name("file"), word), 1)
    b.add(FUNC, "asked", proto)
    # A name may be of more than one kind.
    b.add(TYPEDEF, "thing", word)
    return b


NAMES = ("thing", "narrow", "choice", "asked")


def test_offsets_go_through_what_has_no_name() -> None:
    types = btf.Types(made().data(), NAMES)
    assert [
        types.offset("thing", name) for name in ("begin", "plain", "first", "second", "end")
    ] == [
        *(0, 8, 8, 16),
        24,
    ]
    assert types.size("thing") == 40
    assert types.offset("narrow", "after") == 4
    assert types.offset("thing", "gone", "end") == 24, "the first that is there"
    assert types.value("choice", "SOME") == 7 and types.value("choice", "NONE") == -1
    assert types.function("asked") == 10


@pytest.mark.parametrize(
    ("name", "member"), [("thing", "gone"), ("narrow", "begin"), ("asked", "begin")]
)
def test_what_it_does_not_say_is_unknown(name: str, member: str) -> None:
    types = btf.Types(made().data(), NAMES)
    with pytest.raises(btf.UnknownError):
        types.offset(name, member)
    with pytest.raises(btf.UnknownError):
        types.value("choice", member)
    with pytest.raises(btf.UnknownError):
        types.function("thing")


def test_what_is_none_is_unknown() -> None:
    b = made()
    for data in (b"", b.data(magic=0x9FEB), b.data()[:10]):
        with pytest.raises(btf.UnknownError):
            btf.Types(data, NAMES)
    with pytest.raises(btf.UnknownError, match="absent"):
        btf.Types(b.data(), (*NAMES, "absent"))
    b.add(31, "future", 0)
    with pytest.raises(btf.UnknownError, match="31"):
        btf.Types(b.data(), NAMES)


@pytest.mark.skipif(not Path(btf.VMLINUX).exists(), reason="this kernel has no BTF")
def test_this_machines() -> None:
    """By structures that the kernel never changes, as they are on the wire (RFC 791)."""
    types = btf.Types(Path(btf.VMLINUX).read_bytes(), ("iphdr",))
    assert types.size("iphdr") == 20
    assert [types.offset("iphdr", name) for name in ("tos", "ttl", "daddr")] == [1, 8, 16]
    guardprogram.layout(Path(btf.VMLINUX).read_bytes())
