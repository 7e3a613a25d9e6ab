"""Check of lxc.idmap: whether the kernel takes the maps of ids, and root may write them.

Each of these ends a start. LXC (idmap_utils.c, lxc_map_ids) writes them with newuidmap and
newgidmap, as root too, where both are installed and privileged; itself, where a line maps a uid to
root of the host. Those two ask /etc/subuid and /etc/subgid, for root as for anybody (shadow,
newuidmap.c, verify_range; tried with 4.13). The kernel (user_namespaces(7); tried) takes no id
twice, no empty map, and none beyond 4294967294. Proxmox reads only the lines of .conf (PVE::LXC,
parse_id_maps).
"""

import itertools
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Literal, NamedTuple

from phoenix_apparmor import pveconf
from phoenix_apparmor.containers import Conf
from phoenix_apparmor.doctor import conf_edits, reading
from phoenix_apparmor.doctor.finding import Finding
from phoenix_apparmor.host import Host
from phoenix_apparmor.lxcsettings import IDMAP

Kind = Literal["u", "g"]
KINDS: tuple[Kind, ...] = ("u", "g")
ALLOWING = {"u": "/etc/subuid", "g": "/etc/subgid"}
PROGRAMS = ("/usr/bin/newuidmap", "/usr/bin/newgidmap")
NSSWITCH = "/etc/nsswitch.conf"
# The kernel's count is of 32 bits, and -1 is no id.
END = (1 << 32) - 1
USUAL = "unprivileged: 1, without lxc.idmap"
_LINE = re.compile(r"([ugb])\s+(\d+)\s+(\d+)\s+(\d+)\s*")


class Ids(NamedTuple):
    """Ids from first to last."""

    first: int
    last: int

    def __str__(self) -> str:
        return f"{self.first}" if self.first == self.last else f"{self.first}-{self.last}"


class Map(NamedTuple):
    """Ids of the container (inside) and of the host, as many. said: the line."""

    kind: Kind
    inside: int
    host: int
    many: int
    said: str


def findings(host: Host) -> Iterator[Finding]:
    """What is wrong with each container's maps, and what root may not map at all."""
    asked: dict[Kind, list[tuple[Conf, Map]]] = {"u": [], "g": []}
    for conf in reading.confs(host):
        if pveconf.is_template(conf.main) or not conf.is_whole:
            continue
        maps, wrong = _read(conf)
        # of which kind a line is that nobody can read is seen by its first letter, if by anything
        meant = {kind for line, _ in wrong for kind in KINDS if not _is_of_other(line, kind)}
        for line, why in (*wrong, *_refused(maps, meant)):
            yield Finding(
                "error",
                f"CT {conf.ctid} cannot start: {why}.",
                line if line.startswith("/") else f"{conf.path}: {line}",
                advice=f"correct its {IDMAP} lines",
                ctids=(conf.ctid,),
            )
        # a line that maps a uid to root of the host lets LXC write all of them itself
        if not any(one.kind == "u" and one.host == 0 for one in maps):
            for one in maps:
                asked[one.kind].append((conf, one))
    yield from _not_allowed(host, asked)


def _read(conf: Conf) -> tuple[list[Map], list[tuple[str, str]]]:
    """(the maps, (line, what is wrong) of those that are none)."""
    own = any(one.key == IDMAP for one in conf.own_settings)
    lines = [one for one in conf.settings if one.key == IDMAP]
    # Proxmox writes its own before the includes of .conf; what they clear is in no list
    usual = pveconf.USUAL_MAPS if not own and all(one.value for one in lines) else ()
    is_usual = pveconf.is_true(conf.option("unprivileged"))
    each = [(value, USUAL, "Proxmox") for value in (usual if is_usual else ())]
    each += [
        (one.value, one.said, "LXC" if one.file else "Proxmox")
        for one in lines
        if one.value or not one.file
    ]
    maps, wrong = [], []
    for value, said, reader in each:
        found = _LINE.fullmatch(value)
        if found is None or (found[1] == "b" and reader == "Proxmox"):
            wrong.append((said, f"{reader} takes {IDMAP} only as: u|g FIRST HOST_FIRST COUNT"))
            continue
        inside, outside, count = (int(found[number]) for number in (2, 3, 4))
        kinds = KINDS if found[1] == "b" else [kind for kind in KINDS if kind == found[1]]
        maps += [Map(kind, inside, outside, count, said) for kind in kinds]
    return maps, wrong


def _is_of_other(line: str, kind: Kind) -> bool:
    """Whether a line that is none maps ids of the other kind, as far as it can be read."""
    value = re.split(rf"{re.escape(IDMAP)}\s*[:=]", line)[-1].strip()
    return value[:1] in KINDS and value[:1] != kind


def _refused(maps: Sequence[Map], meant: AbstractSet[Kind]) -> Iterator[tuple[str, str]]:
    """(lines, why the kernel refuses them). meant: kinds of lines that are told already."""
    for one in dict.fromkeys(maps):
        if one.many == 0:
            yield one.said, "the kernel takes no map of 0 ids"
        elif max(one.inside, one.host) + one.many > END:
            yield one.said, f"the kernel has no ids beyond {END - 1}"
    for kind in KINDS:
        of_kind = [one for one in maps if one.kind == kind]
        if maps and not of_kind and kind not in meant:
            lines = "; ".join(dict.fromkeys(one.said for one in maps))
            yield lines, f"it maps no {kind}ids at all, not even root's"
        for side in ("container", "host"):
            yield from _twice(of_kind, side)


def _twice(maps: Sequence[Map], side: str) -> Iterator[tuple[str, str]]:
    begins = [(one.inside if side == "container" else one.host, one) for one in maps]
    each = sorted((first, first + one.many - 1, one) for first, one in begins if one.many)
    for (_, end, before), (first, last, one) in itertools.pairwise(each):
        if first <= end:
            ids = Ids(first, min(end, last))
            what = f"{one.kind}id{'' if ids.first == ids.last else 's'} {ids} of the {side}"
            yield (
                "; ".join(dict.fromkeys((before.said, one.said))),
                f"its {IDMAP} lines map {what} twice, which the kernel refuses",
            )


def _not_allowed(host: Host, asked: dict[Kind, list[tuple[Conf, Map]]]) -> Iterator[Finding]:
    """Ids of the host that /etc/subuid and /etc/subgid do not give root."""
    is_asked = _asks(host)
    if is_asked is False:
        return
    confs: dict[str, Conf] = {}
    lines: dict[str, None] = {}
    lacks: dict[Kind, list[Ids]] = {}
    for kind, each in asked.items():
        given = _given(host, ALLOWING[kind]) if each else []
        lacking: list[Ids] = []
        for conf, one in each:
            # everyone may map the own one
            is_own = one.host == 0 and one.many == 1
            found = [] if is_own else _without(Ids(one.host, one.host + one.many - 1), given)
            if found:
                lacking += found
                confs[conf.ctid] = conf
                lines[f"{conf.path}: {one.said}"] = None
        if lacking:
            lacks[kind] = _merged(lacking)
    if not lacks:
        return
    which = "; ".join(
        f"{kind}id{'s' if len(ids) > 1 or ids[0].first != ids[0].last else ''} "
        f"{reading.listed([str(one) for one in ids])} ({ALLOWING[kind]})"
        for kind, ids in lacks.items()
    )
    ctids = tuple(sorted(confs, key=int))
    who = reading.cts(ctids)
    surely = is_asked and not _asks_others(host)
    yield Finding(
        "error" if surely else "unknown",
        f"{who} cannot start: root may not map these ids of the host: {which}. newuidmap and "
        "newgidmap, with which LXC maps, ask these files for root too."
        if surely
        else f"cannot tell whether {who} can start: these files do not let root map ids of the "
        f"host that it wants: {which}.",
        reading.listed(list(lines)),
        fix=reading.all_of([_allow(host, ALLOWING[kind], ids) for kind, ids in lacks.items()]),
        ctids=ctids,
    )


def _asks(host: Host) -> bool | None:
    """Whether LXC maps with these programs; None: they may have file capabilities."""
    seen = [host.stat(name) for name in PROGRAMS]
    if None in seen:
        return False
    return True if all(one and one.st_mode & stat.S_ISUID for one in seen) else None


def _asks_others(host: Host) -> bool:
    """Whether something else than these files is asked (nsswitch.conf(5), subid)."""
    text = (host.read_if_there(NSSWITCH) or b"").decode("utf-8", "replace")
    lines = (line.partition("#")[0].partition(":") for line in text.split("\n"))
    asked = [rest.split() for key, _, rest in lines if key.strip() == "subid"]
    return any(words != ["files"] for words in asked)


def _given(host: Host, path: str) -> list[Ids]:
    """What a file of subordinate ids gives root: lines OWNER:FIRST:COUNT, owner by name or id."""
    text = (host.read_if_there(path) or b"").decode("utf-8", "replace")
    found = []
    for line in text.split("\n"):
        owner, *words = line.split(":")
        if owner in ("root", "0") and len(words) > 1 and all(w.isdecimal() for w in words[:2]):
            first, count = map(int, words[:2])
            found.append(Ids(first, first + count - 1))
    return _merged([ids for ids in found if ids.last >= ids.first])


def _merged(ids: Iterable[Ids]) -> list[Ids]:
    found: list[Ids] = []
    for one in sorted(ids):
        if found and one.first <= found[-1].last + 1:
            found[-1] = Ids(found[-1].first, max(found[-1].last, one.last))
        else:
            found.append(one)
    return found


def _without(ids: Ids, given: Sequence[Ids]) -> list[Ids]:
    """Those of some ids that are not given."""
    found = []
    first = ids.first
    for one in given:
        if one.last < first or one.first > ids.last:
            continue
        if one.first > first:
            found.append(Ids(first, one.first - 1))
        first = one.last + 1
    return [*found, Ids(first, ids.last)] if first <= ids.last else found


def _allow(host: Host, path: str, ids: Sequence[Ids]) -> str:
    lines = [f"root:{one.first}:{one.last - one.first + 1}" for one in ids]
    return conf_edits.add_lines(path, lines, host.read_if_there(path) or b"")
