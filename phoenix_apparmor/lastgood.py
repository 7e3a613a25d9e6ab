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

A start looks up one line, and with 10,000 containers parsing them all would cost more than
the rest of the hook: the text is searched, not parsed. Pure functions on bytes, no I/O, no
imports.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os

FIRST_LINE = b"phoenix-apparmor assignments 2\n"
# Of version 1.0, which knew no trial and no rules: good as the last good one, but not current.
FIRST_LINES = (FIRST_LINE, b"phoenix-apparmor assignments 1\n")

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


def is_copy(text: bytes) -> bool:
    """Whether text is a copy of this format, to its end (each line was written whole)."""
    return text.startswith(FIRST_LINES) and b"\n\n" in text and text.endswith(b"\n")


def is_current(text: bytes, source: str, seen: "os.stat_result") -> bool:
    """Whether the copy was made from just the file that source is now."""
    head = FIRST_LINE + _source(source) + _seen(seen) + b" "
    if not text.startswith(head) or not text.endswith(b"\n"):
        return False
    read_ns = int(text[len(head) : text.index(b"\n", len(head))])
    return read_ns - max(seen.st_mtime_ns, seen.st_ctime_ns) > SETTLED_NS


def line_of(text: bytes, ctid: str) -> str | None:
    """What stands behind the CTID on its line: "PROFILE", "PROFILE plain", … (see above)."""
    begin = text.find(b"\n" + ctid.encode("utf-8", "surrogateescape") + b" ", len(FIRST_LINE))
    if begin < 0:
        return None
    begin = text.index(b" ", begin) + 1
    return text[begin : text.index(b"\n", begin)].decode("utf-8", "surrogateescape")


def rules_of(text: bytes, ctid: str) -> tuple[str, ...]:
    """The container's own rules."""
    found = []
    start = b"\n" + ctid.encode("utf-8", "surrogateescape") + b"+ "
    begin = text.find(start)
    while begin >= 0:
        begin += len(start)
        end = text.index(b"\n", begin)
        found.append(text[begin:end].decode("utf-8", "surrogateescape"))
        begin = text.find(start, end)
    return tuple(found)
