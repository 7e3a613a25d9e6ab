r"""The validated copy of the assignments: the text of /var/lib/phoenix-apparmor/assignments.

    phoenix-apparmor assignments 2
    source /etc/pve/phoenix_lxc_configs.json
    seen DEV INO SIZE MTIME CTIME READ          (st_*_ns of the JSON, and when it was read)

    950 lxc-nvidia-gpu-base                     CTID and profile
    951 lxc-nvidia-gpu-docker plain             excepted from the policy namespace
    954 lxc-nvidia-gpu-docker trial             on trial
    955 lxc-nvidia-gpu-docker rules             with rules of its own, each on a line:
    955+ mount fstype=nfs,
    952 lxc-nvidia-gpu-docker ! "lxc_new" ...   today's entry is bad: the last good one, and why
    953 ? apparmor_profile is 7 ...             today's entry is bad and there never was a good one
    end 0badcafe                                CRC-32 of the lines between the blank one and this

A start looks up one line, and with 10,000 containers parsing them all would cost more than
the rest of the hook: the text is searched, not parsed. Pure functions on bytes, no I/O;
binascii is built into Debian's Python.
"""

import binascii

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os

FIRST_LINE = b"phoenix-apparmor assignments 2\n"
# Release 1.0.0 wrote no end mark: good enough as the last good assignments, never as current ones.
OLD_FIRST_LINE = b"phoenix-apparmor assignments 1\n"

# pmxcfs gives times in whole seconds: a file that changed within this time before it was read
# may change once more without its times showing it. Until it is older than this it is read
# again at each start.
SETTLED_NS = 2_000_000_000


def identity(source: str, seen: "os.stat_result", read_ns: int) -> bytes:
    """The head of the copy: which file it was made from, and what that looked like.

    read_ns: time.time_ns() just before the file was opened.
    """
    return FIRST_LINE + _source(source) + _seen(seen) + b" %d\n\n" % read_ns


def _source(source: str) -> bytes:
    return b"source " + source.encode("utf-8", "surrogateescape") + b"\n"


def _seen(seen: "os.stat_result") -> bytes:
    return b"seen %d %d %d %d %d" % (
        seen.st_dev,
        seen.st_ino,
        seen.st_size,
        seen.st_mtime_ns,
        seen.st_ctime_ns,
    )


def end_mark(body: bytes) -> bytes:
    """The last line of the copy, below the lines of the containers."""
    return b"end %08x\n" % binascii.crc32(body)


def is_copy(text: bytes) -> bool:
    """Whether text is a copy, whole and as it was written."""
    if text.startswith(OLD_FIRST_LINE):
        return b"\n\n" in text and text.endswith(b"\n")
    return text.startswith(FIRST_LINE) and _is_whole(text)


def _is_whole(text: bytes) -> bool:
    if b"\n\n" not in text:
        return False
    begin = text.index(b"\n\n") + 2
    end = text.rfind(b"\nend ") + 1
    return text[end:] == end_mark(text[begin:end])


def is_current(text: bytes, source: str, seen: "os.stat_result", since_ns: int = 0) -> bool:
    """Whether the copy is whole and was made from just the file that source is now.

    since_ns: a time.time_ns(); a copy that was read after it is as new as can be asked for.
    """
    head = FIRST_LINE + _source(source) + _seen(seen) + b" "
    if not text.startswith(head):
        return False
    digits = text[len(head) : text.find(b"\n", len(head))]
    if not digits.isdigit() or not _is_whole(text):
        return False
    read_ns = int(digits)
    settled = read_ns - max(seen.st_mtime_ns, seen.st_ctime_ns) > SETTLED_NS
    return settled or (since_ns != 0 and since_ns <= read_ns)


def source_of(text: bytes) -> str:
    """The path of the JSON that a copy was made from, also of a cut one; "" if it is none."""
    if not text.startswith((FIRST_LINE, OLD_FIRST_LINE)):
        return ""
    line = text[len(FIRST_LINE) :].partition(b"\n")[0]
    return line.removeprefix(b"source ").decode("utf-8", "surrogateescape")


def line_of(text: bytes, ctid: str) -> str | None:
    """What stands behind the CTID on its line: "PROFILE", "PROFILE plain", … (see above)."""
    begin = text.find(b"\n" + ctid.encode("utf-8", "surrogateescape") + b" ", len(FIRST_LINE))
    if begin == -1:
        return None
    begin = text.index(b" ", begin) + 1
    return text[begin : text.index(b"\n", begin)].decode("utf-8", "surrogateescape")


def rules_of(text: bytes, ctid: str) -> tuple[str, ...]:
    """The container's own rules."""
    found = []
    start = b"\n" + ctid.encode("utf-8", "surrogateescape") + b"+ "
    begin = text.find(start)
    while begin != -1:
        begin += len(start)
        end = text.index(b"\n", begin)
        found.append(text[begin:end].decode("utf-8", "surrogateescape"))
        begin = text.find(start, end)
    return tuple(found)
