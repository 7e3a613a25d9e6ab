"""What a rule allows, told as the kernel would tell it if it were refused. Pure.

So that a rule can be asked the same questions as a denial: is it denied explicitly, and by what?
Of patterns these are examples; of what cannot be told in examples, none.
"""

import re
from collections.abc import Iterator, Sequence

from phoenix_apparmor.assignments import holes, places
from phoenix_apparmor.denials import channels, denying, vocabulary
from phoenix_apparmor.denials.message import Denial
from phoenix_apparmor.policy import aare, mountrules, rules

_TAKING = {"umount": "umount", "unmount": "umount", "pivot_root": "pivotroot"}
_KINDS = {*_TAKING, "ptrace", "capability", "network", "link"}
_PEER = re.compile(r"\bpeer=(\"[^\"]*\"|[^\s\"(]+)")


def asked(rule: str) -> tuple[Denial, ...]:
    """Acts that the rule allows; none for one that denies, or is not understood."""
    return tuple(_acts(rule))


def is_told(rule: str) -> bool:
    """Whether asked() tells all that the rule allows: it names each thing, without patterns."""
    words = holes.split(rule)
    kind, text = words[0] if words else "", " ".join(words)
    if kind in ("mount", "remount"):
        said = mountrules.read(text)
        # what is only changed, not mounted, has no source
        changes = said.remounts or said.acts & {"remount", *mountrules.SPREADS}
        names = (said.target, *said.fstypes, *(() if changes else (said.source,)))
        flags = [exactly for exactly, _ in said.options]
        return all(flags) and len(flags) <= 1 and all(name and aare.is_list(name) for name in names)
    if kind == "signal" and len(words) > 1:
        several = re.search(r"set=\([^)]*[\s,]", text)
        return several is None and all(map(aare.is_list, words[1:]))
    return len(words) > 1 and all(map(aare.is_list, words[1:] if kind in _KINDS else words))


def _acts(rule: str) -> Iterator[Denial]:
    words = holes.split(rule)
    kind, text = words[0] if words else "", " ".join(words)
    match kind:
        case "mount" | "remount":
            yield from _of_mount(text)
        case "umount" | "unmount" | "pivot_root":
            names = aare.examples(words[-1]) if words[-1].startswith(("/", '"/')) else ()
            yield from (_denial(_TAKING[kind], name=name) for name in names)
        case "ptrace" | "signal":
            yield from _between_processes(kind, text)
        case "capability":
            yield from (_denial("capable", capname=name) for name in words[1:])
        case "network":
            if len(words) in (2, 3) and words[1] in vocabulary.FAMILIES:
                kinds = {"sock_type": words[2]} if words[2:] else {}
                yield _denial("create", family=words[1], **kinds)
        case "link":
            yield from _of_link(words)
        case _:
            yield from channels.acts(text) if kind in channels.KINDS else _of_file(rule, text)


def _denial(operation: str, **fields: str) -> Denial:
    return Denial(0.0, 0, {"operation": operation, **fields})


def _of_mount(text: str) -> Iterator[Denial]:
    said = mountrules.read(text)
    if not said.fstypes and not said.options:
        return
    targets = aare.examples(said.target) if said.target else places.USUAL
    sources = aare.examples(said.source) if said.source else ("",)
    types = [name for one in said.fstypes for name in aare.examples(one)] or [""]
    flags = next((words for exactly, words in said.options if exactly), frozenset())
    for target in targets:
        for source in sources:
            for fstype in types:
                yield _denial("mount", name=target, srcname=source or fstype, fstype=fstype,
                              flags=",".join(sorted(flags)))  # fmt: skip


def _between_processes(kind: str, text: str) -> Iterator[Denial]:
    peer = _PEER.search(text)
    rest = re.split(r"\b\w+=", text.partition(" ")[2], maxsplit=1)[0]
    masks = mountrules.listed(rest)
    signals = re.search(r"set=\(?(\w+)", text)
    for label in aare.examples(peer[1]) if peer is not None else ():
        for mask in masks:
            yield _denial(kind, denied_mask=mask, peer=label, signal=signals[1] if signals else "")


def _of_file(rule: str, text: str) -> Iterator[Denial]:
    # a rule that is not for owners only is one for the files of others above all
    user = "0" if denying.is_for_owners(rule) else "1"
    parsed = rules.parse(f"profile x {{\n{text},\n}}\n")
    for one in parsed[0].rules if parsed else ():
        found = rules.file_words(one) if one.kind == "file" else None
        if found is None:
            continue
        for name in filter(lambda name: name.startswith("/"), aare.examples(found[0])):
            for letter in sorted(set(found[1]) & set("rwamlkx")):
                yield _denial("open", name=name, denied_mask=letter, fsuid=user, ouid="0")


def _of_link(words: Sequence[str]) -> Iterator[Denial]:
    names = [word for word in words if word not in ("link", "subset", "->")]
    if len(names) == 2:
        for name in aare.examples(names[0]):
            for target in aare.examples(names[1]):
                yield _denial("link", name=name, target=target, denied_mask="l")
