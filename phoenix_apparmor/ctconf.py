r"""Text of /etc/pve/lxc/CTID.conf: pure functions, no I/O.

It is read as Proxmox reads it (PVE::LXC::Config, the parser of ``lxc.*`` lines): lines end
at ``\n`` only; the main section ends at the first ``[header]``; a line is
``lxc.key: value`` or ``lxc.key = value``; of several lines with one key the last one wins;
there are no trailing comments.

It is bytes here, so that whatever else is in it stays as it is. The start of a container is
a hot path: this module imports nothing (``re`` alone costs as much as half an
interpreter's start).
"""

PROFILE_KEY = b"lxc.apparmor.profile"
# LXC 2's name of it. Proxmox passes it on, and LXC then refuses to start.
DEAD_KEY = b"lxc.aa_profile"

BLANK = b" \t\r\f\v"
_LETTERS = b"abcdefghijklmnopqrstuvwxyz"
_LXC_KEY = _LETTERS + b"0123456789_-."
_HEADER = _LETTERS + b"0123456789_-"


def header_name(line: bytes) -> bytes | None:
    r"""The section that this line opens, or None.

    Proxmox: ``^\[([a-z][a-z0-9_\-]+)\]\s*$`` without regard to case, or ``[pve:pending]``.
    """
    line = line.rstrip(BLANK).lower()
    if not line.startswith(b"[") or not line.endswith(b"]"):
        return None
    name = line[1:-1]
    if name == b"pve:pending":
        return name
    if len(name) < 2 or name[:1] not in _LETTERS or name.strip(_HEADER):
        return None
    return name


def lxc_setting(line: bytes) -> tuple[bytes, bytes] | None:
    r"""(key, value) of an ``lxc.*`` line as Proxmox takes it, or None.

    Proxmox: ``^(lxc\.[a-z0-9_\-\.]+)(:|\s*=)\s*(.*?)\s*$``.
    """
    if not line.startswith(b"lxc."):
        return None
    rest = line.lstrip(_LXC_KEY)
    key = line[: len(line) - len(rest)]
    if len(key) == 4:
        return None
    if not rest.startswith(b":"):
        rest = rest.lstrip(BLANK)
        if not rest.startswith(b"="):
            return None
    return key, rest[1:].strip(BLANK)


def main_section(lines: list[bytes]) -> int:
    """Number of lines that belong to the main section."""
    for number, line in enumerate(lines):
        # asked here already: all other lines cost a tenth
        if line[:1] == b"[" and header_name(line) is not None:
            return number
    return len(lines)


def _profile_lines(lines: list[bytes]) -> list[tuple[int, bytes, bytes]]:
    """(index, key, value) of each line of the main section that sets a profile."""
    found = []
    for number in range(main_section(lines)):
        if not lines[number].startswith((PROFILE_KEY, DEAD_KEY)):
            continue
        setting = lxc_setting(lines[number])
        if setting is not None and setting[0] in (PROFILE_KEY, DEAD_KEY):
            found.append((number, *setting))
    return found


def conf_profiles(text: bytes) -> list[str]:
    """Values of all lxc.apparmor.profile lines of the main section; the last one is used."""
    return [
        as_text(value) for _, key, value in _profile_lines(text.split(b"\n")) if key == PROFILE_KEY
    ]


def conf_says(text: bytes, profile: str | None) -> bool:
    """Whether the main section has one profile line with just this value (None: no line)."""
    found = _profile_lines(text.split(b"\n"))
    if profile is None:
        return not found
    return len(found) == 1 and found[0][1:] == (PROFILE_KEY, as_bytes(profile))


def set_conf_profile(text: bytes, profile: str | None) -> bytes:
    """text whose main section says profile (None: has no profile line), else unchanged.

    Of several profile lines the last one, which is the one in force, is rewritten in
    place and the others go, as does the dead key. A new line goes where Proxmox itself
    writes it: behind the last ``lxc.*`` line of the main section, never behind a header.
    """
    if conf_says(text, profile):
        return text
    lines = text.split(b"\n")
    found = _profile_lines(lines)
    place = next((n for n, key, _ in reversed(found) if key == PROFILE_KEY), None)
    wanted = None if profile is None else PROFILE_KEY + b": " + as_bytes(profile)
    if wanted is not None and place is not None:
        lines[place] = wanted + _line_end(lines[place])
    for number, _, _ in reversed(found):
        if wanted is None or number != place:
            remove_line(lines, number)
    if wanted is not None and place is None:
        insert_line(lines, _place_of_new_line(lines), wanted)
    return b"\n".join(lines)


def remove_line(lines: list[bytes], number: int) -> None:
    """Takes one line out; the newline before an unterminated last line stays."""
    if number == len(lines) - 1:
        lines[number] = b""
    else:
        del lines[number]


def insert_line(lines: list[bytes], place: int, line: bytes) -> None:
    """Puts a line before lines[place], with the line ending that the file has."""
    crlf = any(other.endswith(b"\r") for other in lines[:-1])
    at_open_end = place == len(lines)
    if at_open_end and crlf and not lines[-1].endswith(b"\r"):
        lines[-1] += b"\r"
    lines.insert(place, line + (b"\r" if crlf and not at_open_end else b""))


def _place_of_new_line(lines: list[bytes]) -> int:
    end = main_section(lines)
    last = None
    for number in range(end):
        if lxc_setting(lines[number]) is not None:
            last = number
    if last is None:
        # No lxc line yet: the end of the section, above the blank lines that close it.
        last = end - 1
        while last >= 0 and not lines[last].strip(BLANK):
            last -= 1
    return last + 1


def _line_end(line: bytes) -> bytes:
    return b"\r" if line.endswith(b"\r") else b""


def conf_value(text: bytes, key: bytes) -> str | None:
    r"""Value of a plain ``key: value`` option of the main section (``hookscript``, ``template``).

    Proxmox: ``^([a-z][a-z_]*\d*):\s*(.+?)\s*$``; a later line replaces an earlier one.
    """
    value = None
    lines = text.split(b"\n")
    for number in range(main_section(lines)):
        if lines[number].startswith(key + b":"):
            value = as_text(lines[number][len(key) + 1 :].strip(BLANK))
    return value


def remove_conf_option(text: bytes, key: bytes) -> bytes:
    """text without the ``key: value`` lines of the main section."""
    lines = text.split(b"\n")
    for number in reversed(range(main_section(lines))):
        if lines[number].startswith(key + b":"):
            remove_line(lines, number)
    return b"\n".join(lines)


def as_text(value: bytes) -> str:
    """Bytes of a configuration as str; odd bytes survive the way back."""
    return value.decode("utf-8", "surrogateescape")


def as_bytes(value: str) -> bytes:
    """The bytes that as_text came from."""
    return value.encode("utf-8", "surrogateescape")
