"""Files below /run that one step of a start leaves for a later one, in root's own folder.

What is told after a start stops it only where it went through the step before it (paths.begun): an
admin may empty ExecStartPre= for one container, to do without us there. That LXC's hook of ours has
run says that lxc-start has read what we added (paths.was_read, with the process id of the init that
it was for: nobody takes it away where the drop-in has been switched off since). The hookscript need
not look where the unit has seen that all is right (paths.confined).
"""

import posix

from phoenix_apparmor import paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from phoenix_apparmor.reader import Reader


def make(host: "Reader", name: str, text: bytes = b"") -> bool:
    """Whether it is there now. Where it cannot be made no start is refused for that.

    text: nobody counts on it. One that is cut is none.
    """
    flags = posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC | posix.O_NOFOLLOW
    try:
        if not (host.is_own_folder(paths.RUN) and host.is_own_folder(paths.LOCKS)):
            _make_folders(host)
        file = posix.open(host.path(name), flags, 0o600)
    except OSError:
        return False
    try:
        if posix.write(file, text) < len(text):
            posix.ftruncate(file, 0)
    except OSError:
        pass
    posix.close(file)
    return True


def _make_folders(reader: "Reader") -> None:
    """Raises OSError."""
    from phoenix_apparmor.errors import PhoenixError
    from phoenix_apparmor.host import Host

    host = Host(reader.root)
    try:
        host.own_folder(paths.RUN, 0o700)
        host.own_folder(paths.LOCKS, 0o700)
    except PhoenixError as error:
        raise OSError(error.what) from error


def remove(host: "Reader", name: str) -> bool:
    """Whether there was one."""
    try:
        posix.unlink(host.path(name))
    except OSError:
        return False
    return True


def can_be_made(host: "Reader", name: str) -> bool:
    """Whether one that is not there could be: else its absence says nothing."""
    return make(host, name) and remove(host, name)


def is_there(host: "Reader", name: str) -> bool:
    """As the hookscript's shell asks for it ([ -f ])."""
    import stat

    try:
        return stat.S_ISREG(posix.stat(host.path(name)).st_mode)
    except OSError:
        return False


def is_of(host: "Reader", name: str, pid: int) -> bool:
    """Whether there is one that is of this process, or does not say of which."""
    try:
        return host.read(name, 32) in (b"", b"%d" % pid)
    except OSError:
        return False
