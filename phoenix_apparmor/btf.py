"""Where this kernel has what in its structures: /sys/kernel/btf/vmlinux.

The format is Documentation/bpf/btf.rst's. Of its 130,000 types a few are looked for, once after
each boot: the whole takes 0.15 s.
"""

import struct
from typing import NamedTuple

VMLINUX = "/sys/kernel/btf/vmlinux"
MAGIC = 0xEB9F
HEADER, TYPE, MEMBER, ENUMERATOR = (
    struct.Struct(f"<{form}") for form in ("HBBIIIII", "III", "III", "Ii")
)
STRUCT, UNION, ENUM, TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC, TAG = 4, 5, 6, 8, 9, 10, 11, 12, 18
# Bytes behind the 12 of a type: fixed, and for each of its members.
BEHIND = {
    1: (4, 0),  # integer
    2: (0, 0),  # pointer
    3: (12, 0),  # array
    STRUCT: (0, 12),
    UNION: (0, 12),
    ENUM: (0, 8),
    7: (0, 0),  # forward
    TYPEDEF: (0, 0),
    VOLATILE: (0, 0),
    CONST: (0, 0),
    RESTRICT: (0, 0),
    FUNC: (0, 0),
    13: (0, 8),  # prototype
    14: (4, 0),  # variable
    15: (0, 12),  # section
    16: (0, 0),  # float
    17: (4, 0),  # tag of a declaration
    TAG: (0, 0),
    19: (0, 12),  # enum of 64 bits
}


class UnknownError(Exception):
    """The kernel has no such thing, or says it in a way that is not known here."""


class _Type(NamedTuple):
    kind: int
    has_widths: bool
    """With STRUCT and UNION: whether offsets have a width beside them."""
    members: int
    size: int
    """Its size, or the type that it is another name of."""
    at: int


class Types:
    """The types of a BTF file. Raises UnknownError where it is none, and as its methods say."""

    def __init__(self, data: bytes, names: tuple[str, ...]) -> None:
        """names: of structures, enums and functions that will be asked for."""
        if len(data) < HEADER.size:
            raise UnknownError("it is empty")
        magic, _, _, length, types, size, strings, strings_size = HEADER.unpack_from(data)
        if magic != MAGIC:
            raise UnknownError("it is none of this machine's")
        self._data = data[length + types : length + types + size]
        self._strings = data[length + strings : length + strings + strings_size]
        places = {self._place(name): name for name in names}
        self._at = [0]
        self._named: dict[tuple[str, int], int] = {}
        at, unpack = 0, TYPE.unpack_from
        while at < size:
            name, info, _ = unpack(self._data, at)
            kind = info >> 24 & 31
            if name in places:
                self._named.setdefault((places[name], kind), len(self._at))
            self._at.append(at)
            try:
                fixed, each = BEHIND[kind]
            except KeyError:
                raise UnknownError(f"a type of kind {kind}") from None
            at += TYPE.size + fixed + each * (info & 0xFFFF)

    def _place(self, name: str) -> int:
        found = self._strings.find(b"\0" + name.encode() + b"\0")
        if found < 0:
            raise UnknownError(name)
        return found + 1

    def _name(self, place: int) -> str:
        return self._strings[place : self._strings.index(b"\0", place)].decode()

    def _of(self, number: int) -> _Type:
        at = self._at[number]
        _, info, size = TYPE.unpack_from(self._data, at)
        return _Type(info >> 24 & 31, bool(info >> 31), info & 0xFFFF, size, at + TYPE.size)

    def _number(self, name: str, kind: int) -> int:
        number = self._named.get((name, kind))
        if number is None:
            raise UnknownError(name)
        return number

    def function(self, name: str) -> int:
        """Its number."""
        return self._number(name, FUNC)

    def size(self, name: str) -> int:
        """Bytes of a structure."""
        return self._of(self._number(name, STRUCT)).size

    def offset(self, name: str, *members: str) -> int:
        """Bytes from a structure's begin to the first of these members that it has.

        One of a structure without a name in it counts as its own.
        """
        number = self._number(name, STRUCT)
        for member in members:
            found = self._offset(self._of(number), member)
            if found is not None:
                return found
        raise UnknownError(f"{name}.{members[0]}")

    def _offset(self, structure: _Type, wanted: str) -> int | None:
        for number in range(structure.members):
            at = structure.at + MEMBER.size * number
            place, kind, bits = MEMBER.unpack_from(self._data, at)
            offset = (bits & 0xFFFFFF if structure.has_widths else bits) // 8
            if self._name(place) == wanted:
                return int(offset)
            if not self._name(place):
                within = self._offset(self._plain(kind), wanted)
                if within is not None:
                    return int(offset) + within
        return None

    def _plain(self, number: int) -> _Type:
        found = self._of(number)
        while found.kind in (TYPEDEF, VOLATILE, CONST, RESTRICT, TAG):
            found = self._of(found.size)
        if found.kind in (STRUCT, UNION):
            return found
        return found._replace(members=0)

    def value(self, name: str, member: str) -> int:
        """The number that a name of an enum stands for."""
        found = self._of(self._number(name, ENUM))
        for number in range(found.members):
            place, value = ENUMERATOR.unpack_from(self._data, found.at + ENUMERATOR.size * number)
            if self._name(place) == member:
                return int(value)
        raise UnknownError(f"{name}.{member}")
