"""Is a compiled policy the one that the kernel holds? With bytes of a real parser and kernel."""

from __future__ import annotations

import base64
import zlib

import pytest

from phoenix_apparmor.host import Host
from phoenix_apparmor.policy import load
from tests.unit.fakehost import FakeHost

# apparmor_parser 4.1.0 on Linux 6.17.13, whose permission tables have a version too, compiled this:
#     profile a { /x r, }
#     profile b { /y r, }
PERMISSION_TABLES = zlib.decompress(base64.b85decode(
    r"c-rk(%W8x$6g`P|OiJei3f;^{l<vCgcNF4`7Qv39L$SMVx-b3W#@Ez|jD=P~hI=51xi>jJxyM5quVG%q=^j#THXw"
    r"~GPop>qp;i(G<RePVa{(n`@zZH%UU#IhHCb_gH(1{6p(|u*5^vvj0hFcA!u-WjQ|~H-U3cwuo8AW;f9WP+p?|Whw"
    r"Y_0uc9DVqL1=LMR6f|@#y&brzfTWQ5|&j$pj+a#qo|4GAl`tQlMLdzi;HHE$Bb<G+&E6+jLU-Od=KK75p@%A<2Z>"
    r"kE(&_22<xtR$w`VZv&_iyxCoZM#C?&YZ=YxMjd}`H9sBLf&Et&T(Wu_d2f4u7&iGC5=EL$7lK<g`WkaDnn4q#ZR^"
    r"L|kosG4%)--OA0yao&kQi)`*dVb%VpGBfi4D@Ce?QqGu|Z;sG^IiM2D(394g"
))  # fmt: skip
# The same with the second one in a policy namespace: profile :ns:b { /y r, }
WITH_NAMESPACE = zlib.decompress(base64.b85decode(
    r"c-rk(U2B6d6g`QzO}6z14EE9=QTDdC{f<GjIs~htWw^I7*!$QoUewyzNITdnNVx}+n0u4sC--<r<0UN0I7=bbatY"
    r"GNi!6$h5Nal2KyyTic`l(OEPgue%$trB0+W~btHJVi4_zV8k~nx>`%soT4~vbZrruQuyY9y8HoXlv{?eU=h5pI1("
    r"DsInSw{x*4?>H(r|Q8DxAxIl`ZU`{Nm$hhfo_Sn8%0AT2k{ovo@5Z$U0k$-+-KyD&yC|C&bTai&i5ep8PPNWH;#i"
    r"i<D#HX6k**JFL{<C%q%0aJWhh8FL7Vw=-cNJeWRWN)yMPQ%+2G7-qA_D8xL}VwVm;s-i?RpDJ1{H4a<f?wKaZiZ>"
    r"+w}>^nQv7Fv^Qkgk!MO<3k82r=`Jmab>=*)xsencj&F6N3#CgAEh2uwi1u#FmK-6I-T<8K!SWrDCr"
))  # fmt: skip
# The raw_sha256 that this kernel shows after apparmor_parser -r -T -K, which loads each by itself,
# and after a load from the parser's cache, which is of the whole file.
EACH = {
    "a": "affb1dcf90f13594845cf5d946e60196c5101441adfe5f65726633116ad7f683",
    "b": "2403a277d6cd6679ec550ab76cdcfbe6ffe040cbd56f3cd6fba33ad669c24c74",
}
WHOLE = "7f9827c82fae25d803ca62fc5b64d7be32a5a51e98cb537b7ab72b2a433fb213"


def is_loaded(host: FakeHost, name: str, policy: bytes) -> bool:
    return load.is_loaded(Host(str(host.root)), name, policy)


@pytest.mark.parametrize("name", EACH)
@pytest.mark.parametrize("whole", [False, True], ids=["each", "whole"])
def test_a_file_with_permission_tables_is_known_however_it_was_hashed(
    host: FakeHost, name: str, *, whole: bool
) -> None:
    folder = f"/sys/kernel/security/apparmor/policy/profiles/{name}.7"
    host.write(f"{folder}/raw_sha256", f"{WHOLE if whole else EACH[name]}\n")
    assert is_loaded(host, name, PERMISSION_TABLES)
    changed = PERMISSION_TABLES.replace(b"\0" + name.encode() + b"\0", b"\0c\0")
    assert changed != PERMISSION_TABLES
    assert not is_loaded(host, name, changed)
    assert not is_loaded(host, name, b"")


def test_before_a_profile_of_a_namespace(host: FakeHost) -> None:
    host.write("/sys/kernel/security/apparmor/policy/profiles/a.7/raw_sha256", EACH["a"])
    assert is_loaded(host, "a", WITH_NAMESPACE)
