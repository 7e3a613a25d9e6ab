"""Proxmox phases -> starting. What stands here runs at each start of a container.

Proxmox calls ``HOOKSCRIPT CTID PHASE`` (PVE::GuestHelpers::exec_hookscript); exit status 1 at
pre-start aborts the start, in the other phases it only warns. Its stdout and stderr are the
task log.
"""

import posix
import sys

from phoenix_apparmor import environment, notes, paths
from phoenix_apparmor.reader import Reader
from phoenix_apparmor.settled import settle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TextIO

    from phoenix_apparmor.errors import PhoenixError
    from phoenix_apparmor.host import Host
    from phoenix_apparmor.start import Prepared, Where

    Action = Callable[[Host, str], int]


STEPS = ("pre-start", "post-start", "post-stop")
# More than start.PATIENCE gives a start, so that this speaks only where a system call hangs (a
# dead pmxcfs or NFS server). The unit's drop-in has TimeoutStartSec=30s.
HOOKSCRIPT_SECONDS, UNIT_SECONDS, AFTER_SECONDS = 310, 28, 25
# For an init that comes later than that.
LATE_SECONDS = 3600


def main(arguments: list[str]) -> int:
    """The hookscript: [CTID, PHASE]. Phases that are none of ours are none of our business."""
    return _with_streams(_hookscript, arguments)


def _hookscript(arguments: list[str]) -> int:
    host = Reader(environment().get("PHOENIX_APPARMOR_ROOT", ""))
    if len(arguments) != 2:
        _tell(sys.stderr, "usage: hookscript CTID pre-start|post-start|pre-stop|post-stop\n")
        return 64
    ctid, phase = arguments
    if phase not in ("pre-start", "post-start"):
        return 0
    if not paths.is_ctid(ctid):
        return _refuse_ctid(host, ctid)
    if phase == "pre-start":
        _watch(host, ctid, HOOKSCRIPT_SECONDS)
        notes.remove(host, paths.confined(ctid))
        if settle(host, ctid) and not notes.is_there(host, paths.confined(ctid)):
            return 0
        return _guarded(host, ctid, _start)
    host.mark(paths.CHANGED)
    return min(1, _guarded(host, ctid, _verify))


def unit(arguments: list[str]) -> int:
    """What the drop-ins of pve-container@.service call: [pre-start|post-start|post-stop, CTID].

    stdout is null there and stderr garbles Proxmox's own messages, so a start that goes on
    says nothing on either. What is written to /run/pve/ct-CTID.warnings is shown by pct
    start when the start is refused.
    """
    return _with_streams(_unit, arguments)


def _unit(arguments: list[str]) -> int:
    environ = environment()
    host = Reader(environ.get("PHOENIX_APPARMOR_ROOT", ""))
    if len(arguments) != 2 or arguments[0] not in STEPS:
        _tell(sys.stderr, "usage: unit pre-start|post-start|post-stop CTID\n")
        return 64
    step, ctid = arguments
    if not paths.is_ctid(ctid):
        return _refuse_ctid(host, ctid) if step == "pre-start" else 0
    if step == "post-start":
        host.mark(paths.CHANGED)
        return _unit_started(host, ctid, environ.get("MAINPID", ""))
    notes.remove(host, paths.confined(ctid))
    notes.remove(host, paths.was_read(ctid))
    if step == "post-stop":
        notes.remove(host, paths.begun(ctid))
        host.mark(paths.CHANGED)
        return _guarded(host, ctid, _release)
    _watch(host, ctid, UNIT_SECONDS, tell_pct=True)
    is_settled = settle(host, ctid) and not notes.is_there(host, paths.confined(ctid))
    status = 0 if is_settled else _guarded(host, ctid, _start_unit, tell_pct=True)
    if status == 0:
        notes.make(host, paths.begun(ctid))
    return status


def _unit_started(host: Reader, ctid: str, monitor: str) -> int:
    """Failing here stops the container. Under another profile than ours it may be on purpose.

    Not known in time is no reason to stop it, which a time-out of the unit would.
    """
    _give_up(host, ctid, AFTER_SECONDS)
    begun = notes.remove(host, paths.begun(ctid))
    if _is_confined(host, ctid, monitor):
        notes.make(host, paths.confined(ctid))
        return 0
    from phoenix_apparmor.host import Host
    from phoenix_apparmor.init_process import INIT_SECONDS, went_through_us

    begun = begun or went_through_us(Host(host.root)) is True
    has_come, status = _look(host, ctid, monitor, INIT_SECONDS, begun=begun)
    # A mount hook may wait for a server, or the host be busy: looked at when it comes.
    if not has_come and posix.fork() == 0:
        _look_later(host, ctid, monitor, begun=begun)
    return status


def _look(
    host: Reader, ctid: str, monitor: str, seconds: float, *, begun: bool
) -> "tuple[bool, int]":
    """Whether the container's init has come by then; exit status of the unit's step."""
    from phoenix_apparmor.init_process import UNCONFINED, kill, verify

    has_come = True

    def look(host: "Host", ctid: str) -> int:
        nonlocal has_come
        has_come = verify(host, ctid, wait=seconds, monitor=monitor, begun=begun)
        return 0

    status = _guarded(host, ctid, look, tell_pct=begun)
    if not begun or status != UNCONFINED:
        return has_come, 0

    def end(host: "Host", ctid: str) -> int:
        kill(host, ctid)
        return 0

    _guarded(host, ctid, end)
    return has_come, status


def _look_later(host: Reader, ctid: str, monitor: str, *, begun: bool) -> None:
    """In a process of its own, as long as the unit's start is not over: never returns."""
    try:
        posix.setsid()
        what = f"CT {ctid}: its init has not come yet; what confines it is looked at when it does."
        _to_journal(host, ctid, what)
        _look(host, ctid, monitor, LATE_SECONDS, begun=begun)
    finally:
        posix._exit(0)  # noqa: SLF001  (its name is that of exit(2))


def _is_confined(host: Reader, ctid: str, monitor: str) -> bool:
    try:
        from phoenix_apparmor.confined import is_confined
    except ImportError:
        return False  # a disk that fails; then the other way says so
    return is_confined(host, ctid, monitor)


def _with_streams(step: "Callable[[list[str]], int]", arguments: list[str]) -> int:
    if None in (sys.stdin, sys.stdout, sys.stderr):
        from phoenix_apparmor.host import need_streams

        need_streams()
    try:
        return step(arguments)
    finally:
        _forget_output()


def _forget_output() -> None:
    """As host.forget_output, which most starts need not load."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        from phoenix_apparmor.host import forget_output

        forget_output()


def _watch(host: Reader, ctid: str, seconds: float, *, tell_pct: bool = False) -> None:
    """Ends this process with a refusal if it is still there after some time.

    A thread of its own, as a system call that hangs lets nothing else in this one run. _thread
    is built in; threading and signal would cost a start more than all else here.
    """
    import _thread
    import time

    def late() -> None:
        time.sleep(seconds)
        what = f"CT {ctid}: not prepared within {seconds} s"
        lines = (
            f"{what}, so it was not started: a file system or program is not responding.",
            "See: systemctl status pve-cluster; journalctl -k -p err",
        )
        try:
            _tell(sys.stderr, "".join(f"{line}\n" for line in lines))
            if tell_pct:
                _write_for_pct(host, ctid, lines)
            _to_journal(host, ctid, f"{what}.", is_error=True)
        finally:
            posix._exit(1)  # noqa: SLF001  (its name is that of exit(2))

    _thread.start_new_thread(late, ())


def _give_up(host: Reader, ctid: str, seconds: float) -> None:
    """Ends this process well if it is still there after some time; the journal has it."""
    import _thread
    import time

    def late() -> None:
        time.sleep(seconds)
        what = f"CT {ctid}: what confines it was not found out within {seconds} s of its start."
        try:
            _to_journal(host, ctid, f"{what} To see it: phoenix-apparmor status {ctid}")
        finally:
            posix._exit(0)  # noqa: SLF001  (its name is that of exit(2))

    _thread.start_new_thread(late, ())


def _tell(stream: "TextIO", text: str) -> None:
    """A log that takes nothing (a full disk, a reader that is gone) decides about no start."""
    try:
        if not text.isascii():
            text = text.encode(stream.encoding, "backslashreplace").decode(stream.encoding)
        stream.write(text)
        stream.flush()
    except (OSError, ValueError):
        return


def _to_journal(reader: Reader, ctid: str, text: str, *, is_error: bool = False) -> None:
    from phoenix_apparmor.host import ERROR, WARNING, Host

    Host(reader.root).journal(ERROR if is_error else WARNING, text, ctid=ctid)


def _refuse_ctid(reader: Reader, ctid: str) -> int:
    from phoenix_apparmor.errors import PhoenixError
    from phoenix_apparmor.host import Host

    error = PhoenixError(
        f'"{ctid}" is not a valid CTID: a CTID is a number from 100 to 999999999.',
        hint="Proxmox calls this as: hookscript CTID pre-start",
    )
    return _refused(Host(reader.root), error)


def _guarded(reader: Reader, ctid: str, action: "Action", *, tell_pct: bool = False) -> int:
    """Runs an action; every failure of it, an unforeseen one too, is a refusal with a reason."""
    from phoenix_apparmor.errors import PhoenixError, as_error, from_os_error
    from phoenix_apparmor.host import ERROR, Host

    host = Host(reader.root)
    try:
        return action(host, ctid)
    except PhoenixError as error:
        refusal = error
    except OSError as error:
        refusal = from_os_error(error).about(ctid)
    except ImportError as error:
        refusal = as_error(error).about(ctid)
    except Exception as error:  # noqa: BLE001  (whatever it is, the container must not start)
        host.journal(ERROR, _details(error), ctid=ctid)
        refusal = PhoenixError(
            f"{type(error).__name__}: {error}",
            hint="That is an error in phoenix-apparmor; the journal has the details: "
            "journalctl -t phoenix-apparmor",
            ctid=ctid,
        )
    if tell_pct:
        write_for_pct(host, ctid, refusal)
    return _refused(host, refusal)


def _details(error: Exception) -> str:
    """Where an error comes from, as far as Python can still say it."""
    try:
        import traceback

        return "".join(traceback.format_exception(error))
    except Exception:  # noqa: BLE001  (a disk that fails has not all of Python's modules)
        return repr(error)


def _start(host: "Host", ctid: str) -> int:
    from phoenix_apparmor.errors import one_line

    prepared = _prepare(host, ctid, "hookscript")
    for warning in prepared.warnings:
        _tell(sys.stderr, f"WARN: {warning}\n")
    if prepared.changes:
        _tell(sys.stdout, f"CT {ctid}: {one_line('; '.join(prepared.changes))}\n")
    return 0


def _start_unit(host: "Host", ctid: str) -> int:
    _prepare(host, ctid, "unit")
    return 0


def _prepare(host: "Host", ctid: str, where: "Where") -> "Prepared":
    from phoenix_apparmor.errors import PhoenixError
    from phoenix_apparmor.host import NOTICE, WARNING
    from phoenix_apparmor.start import prepare

    note = paths.confined(ctid)
    if notes.is_there(host, note):
        raise PhoenixError(
            f"{note}, which says that an earlier start was looked at, cannot be removed.",
            hint=f"See why, and remove it: ls -ld {paths.LOCKS}; mount | grep ' /run'; rm {note}",
            ctid=ctid,
        )
    prepared = prepare(host, ctid, where)
    profile = prepared.assignment.name if prepared.assignment is not None else None
    for warning in prepared.warnings:
        host.journal(WARNING, " ".join(warning.lines()), ctid=ctid, profile=profile)
    if prepared.changes:
        text = f"CT {ctid}: {'; '.join(prepared.changes)}"
        host.journal(NOTICE, text, ctid=ctid, profile=profile)
    return prepared


def write_for_pct(host: Reader, ctid: str, error: "PhoenixError") -> None:
    """pct start prints these lines as warnings when the unit did not start."""
    _write_for_pct(host, ctid, error.lines())


def _write_for_pct(host: Reader, ctid: str, lines: "Sequence[str]") -> None:
    try:
        with open(host.path(f"/run/pve/ct-{ctid}.warnings"), "a", encoding="utf-8") as file:
            file.write("".join(f"{line}\n" for line in lines))
    except OSError:
        return  # no Proxmox; stderr and the journal have it


def _verify(host: "Host", ctid: str) -> int:
    from phoenix_apparmor.init_process import verify

    verify(host, ctid)
    return 0


def _release(host: "Host", ctid: str) -> int:
    from phoenix_apparmor.stopped import release

    release(host, ctid)
    return 0


def _refused(host: "Host", error: "PhoenixError") -> int:
    """The reason and how to fix it: two lines in the task log, one in the journal."""
    from phoenix_apparmor.host import ERROR

    _tell(sys.stderr, f"{error}\n")
    host.journal(ERROR, " ".join(error.lines()), ctid=error.ctid)
    return error.status
