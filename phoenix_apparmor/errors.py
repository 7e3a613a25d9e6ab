"""The one error type: what is wrong, where, and how to fix it."""

import errno
import posix


class PhoenixError(Exception):
    """An error that a person can act on.

    what: one sentence that names the thing and the cause.
    hint: one sentence with how to fix it, best a command; may be empty.
    ctid: the container it is about, if it is about one.
    status: exit status of the command that ends with it (1 error, 64 usage).
    """

    def __init__(
        self, what: str, *, hint: str = "", ctid: str | None = None, status: int = 1
    ) -> None:
        super().__init__(what)
        self.what = one_line(what)
        self.hint = one_line(hint)
        self.ctid = ctid
        self.status = status

    def about(self, ctid: str) -> "PhoenixError":
        """The same error, said of container ctid."""
        return PhoenixError(self.what, hint=self.hint, ctid=ctid, status=self.status)

    def lines(self) -> list[str]:
        """One line for the reason and, where there is one, a second for how to fix it."""
        where = f"CT {self.ctid}: " if self.ctid is not None else ""
        return [where + self.what] + ([self.hint] if self.hint else [])

    def __str__(self) -> str:
        return "\n".join(self.lines())


def from_os_error(error: OSError, doing: str = "", folder: str = "") -> PhoenixError:
    """What a failed system call means for a person, and what helps.

    doing: what was tried, with the name ("cannot write /x"). folder: where a write went.
    """
    name = error.filename if isinstance(error.filename, str) else ""
    doing = doing or f"cannot use {name or 'a file or the output'}"
    reason = (error.strerror or str(error) or type(error).__name__).removeprefix("it is ")
    return PhoenixError(f"{doing}: {reason}.", hint=_help(error, f"{doing} {name}", folder, name))


def as_error(error: BaseException) -> PhoenixError:
    """What any failure that can be met on a bad day means for a person."""
    if isinstance(error, PhoenixError):
        return error
    if isinstance(error, OSError):
        return from_os_error(error)
    if isinstance(error, UnicodeError):
        return PhoenixError(f"a text is not UTF-8: {error}.", hint="Save the file as UTF-8.")
    if isinstance(error, ImportError):
        # Not only a damaged package: Python takes EIO for "no such module".
        hint = "Try again; else: apt-get install --reinstall phoenix-apparmor"
        return PhoenixError(f"a part of the program cannot be read: {error}.", hint=hint)
    return PhoenixError(f"{type(error).__name__}: {error}.")


def _help(error: OSError, where: str, folder: str, name: str) -> str:
    code = error.errno
    if code in (errno.EACCES, errno.EPERM) and posix.geteuid() != 0:
        return "Run it as root."
    if code in (errno.EACCES, errno.EROFS) and "/etc/pve" in where:
        # pmxcfs gives EACCES to root while the cluster has no quorum.
        return "The cluster has no quorum, so /etc/pve is read-only. See: pvecm status"
    if code in (errno.ENOTCONN, errno.EIO, errno.ESTALE) and "/etc/pve" in where:
        return "The cluster's file system does not answer. Try: systemctl restart pve-cluster"
    room = f"Free some space on the file system{' of ' + folder if folder else ''} and try again."
    return {
        errno.ENOSPC: room,
        errno.EDQUOT: room,
        errno.EFBIG: "/etc/pve takes files of at most 1 MiB.",
        errno.EIO: "A disk may be failing. See: journalctl -k -p err",
        errno.EROFS: "The file system is read-only. See: journalctl -k -p err; findmnt",
        errno.ELOOP: f"A link leads back to itself. See: ls -l {name}",
        errno.EINVAL: f"See what it is: ls -ld {name}" if name else "",
        errno.EISDIR: f"See what it is: ls -ld {name}" if name else "",
        errno.EMFILE: "Too many files are open.",
    }.get(code or 0, "")


def one_line(text: str) -> str:
    """text in one line, safe for a terminal, a log and a table: see readable."""
    text = text.strip()
    # Most is printable, and this is asked of each line of a log.
    return text if text.isprintable() else "".join(map(_visible, text))


def readable(text: str) -> str:
    r"""Text of several lines in which nothing acts on a terminal, or reads other than it looks.

    Control characters, escape sequences, bidi controls, invisible characters and bytes that are
    not UTF-8 are shown as Python writes them (\x1b, \u202e, \xff); newlines and tabs stay.
    """
    if text.replace("\n", "").isprintable():
        return text
    return "".join(c if c in "\n\t" else _visible(c) for c in text)


def _visible(c: str) -> str:
    if c.isprintable():
        return c
    if "\udc80" <= c <= "\udcff":
        return f"\\x{ord(c) - 0xDC00:02x}"  # a byte that was not UTF-8 (surrogateescape)
    return repr(c)[1:-1]
