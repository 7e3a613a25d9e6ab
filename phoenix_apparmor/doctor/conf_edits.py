"""Shell lines that change the main section of a .conf, and nothing below it; and that add lines
to other files. Pure.
"""

import re
import shlex
from collections.abc import Sequence

PROFILE_LINE = r"lxc\.(apparmor\.profile|aa_profile)"


def take_out(path: str, key: str, value: str = "") -> str:
    """Takes out the lxc lines of a key (an extended regular expression), with just this value."""
    behind = rf"[[:blank:]]*{_literal(value)}[[:blank:]\r]*$" if value else ""
    return _sed(path, rf"/^{key}(:|[[:blank:]]*=){behind}/d")


def append(path: str, key: str, value: str, more: str) -> str:
    """Writes something behind a value, in the lxc lines of a key that have just this value."""
    line = rf"{key}[[:blank:]]*[:=][[:blank:]]*{_literal(value)}"
    return _sed(path, rf"s/^({line})[[:blank:]\r]*$/\1{_literal(more)}/")


def rewrite(path: str, key: str, value: str, line: str) -> str:
    """Writes another line instead of the lxc lines of a key that have just this value."""
    old = rf"{key}[[:blank:]]*[:=][[:blank:]]*{_literal(value)}[[:blank:]\r]*"
    new = re.sub(r"([\\/&])", r"\\\1", line)
    return _sed(path, f"s/^{old}$/{new}/")


def add_lines(path: str, lines: Sequence[str], text: bytes) -> str:
    """Adds lines to a file, whose text is now this, but none that is in it already.

    So that two such fixes, of two containers for example, add nothing twice.
    """
    # what ends without a line's end would swallow the first of ours
    begin = f"echo >>{path} && " if text and not text.endswith(b"\n") else ""
    words = " ".join(shlex.quote(line) for line in lines)
    add = f'grep -qsxF -e "$line" {path} || printf "%s\\n" "$line" >>{path}'
    return f"{begin}for line in {words}; do {add}; done"


def take_out_indented(path: str, key: str) -> str:
    """The same for lines that begin with blanks, which Proxmox does not read."""
    return _sed(path, rf"/^[[:blank:]]+{key}[[:blank:]]*[:=]/d")


def set_profile(path: str, profile: str) -> str:
    """Rewrites the profile lines' value."""
    return _sed(path, rf"s|^(lxc\.apparmor\.profile)[[:blank:]]*[:=].*|\1: {profile}|")


def _sed(path: str, command: str) -> str:
    # what is below the first [header] is a snapshot or a pending change
    return _sed_line(rf"/^\[/,$!{{{command}}}", path)


def _sed_line(program: str, path: str) -> str:
    return f"sed -E -i {shlex.quote(program)} {shlex.quote(path)}"


def _literal(text: str) -> str:
    return re.sub(r"([][\\.*^$/+?(){}|])", r"\\\1", text)


def keep_last_profile(path: str) -> str:
    """Of several equal profile lines, all but the first are taken out."""
    text = r"/^\[/,$b;/^lxc\.apparmor\.profile:/{x;/x/{x;d};s/^/x/;x}"
    return _sed_line(text, path)


def take_out_empty(path: str, key: str) -> str:
    """Takes out the lines of a key that have no value."""
    return _sed(path, rf"/^{key}(:|[[:blank:]]*=)[[:blank:]\r]*$/d")
