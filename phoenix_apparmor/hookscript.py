"""Proxmox phases -> starting. What stands here runs at each start of a container.

Proxmox calls ``HOOKSCRIPT CTID PHASE`` (PVE::GuestHelpers::exec_hookscript); exit status 1 at
pre-start aborts the start, in the other phases it only warns. Its stdout and stderr are the
task log.
"""

import os
import sys

from phoenix_apparmor import paths
from phoenix_apparmor.errors import PhoenixError, as_error, from_os_error, one_line
from phoenix_apparmor.host import ERROR, NOTICE, WARNING, Host, forget_output, need_streams
from phoenix_apparmor.settled import is_settled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from phoenix_apparmor.start import Prepared, Where


STEPS = ("pre-start", "post-start", "post-stop")
# More than start.PATIENCE gives a start, so that this speaks only where a system call hangs (a
# dead pmxcfs or NFS server). The unit's drop-in has TimeoutStartSec=30s.
HOOKSCRIPT_SECONDS, UNIT_SECONDS, AFTER_SECONDS = 310, 28, 25


def main(arguments: list[str]) -> int:
    """The hookscript: [CTID, PHASE]. Phases that are none of ours are none of our business."""
    need_streams()
    try:
        return _hookscript(arguments)
    finally:
        forget_output()


def _hookscript(arguments: list[str]) -> int:
    host = Host(os.environ.get("PHOENIX_APPARMOR_ROOT", ""))
    if len(arguments) != 2:
        _tell(sys.stderr, "usage: hookscript CTID pre-start|post-start|pre-stop|post-stop\n")
        return 64
    ctid, phase = arguments
    if phase not in ("pre-start", "post-start"):
        return 0
    if not paths.is_ctid(ctid):
        return _refused(host, _no_ctid(ctid))
    if phase == "pre-start":
        _watch(host, ctid, HOOKSCRIPT_SECONDS)
        if is_settled(host, ctid):
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
    need_streams()
    try:
        return _unit(arguments)
    finally:
        forget_output()


def _unit(arguments: list[str]) -> int:
    host = Host(os.environ.get("PHOENIX_APPARMOR_ROOT", ""))
    if len(arguments) != 2 or arguments[0] not in STEPS:
        _tell(sys.stderr, "usage: unit pre-start|post-start|post-stop CTID\n")
        return 64
    step, ctid = arguments
    if not paths.is_ctid(ctid):
        return _refused(host, _no_ctid(ctid)) if step == "pre-start" else 0
    if step == "pre-start":
        _watch(host, ctid, UNIT_SECONDS, tell_pct=True)
    elif step == "post-start":
        # Not known in time is no reason to stop a container, which a time-out of the unit would.
        _give_up(host, ctid, AFTER_SECONDS)
    if step != "pre-start":
        host.mark(paths.CHANGED)
    if step == "post-stop":
        return _guarded(host, ctid, _release)
    if step == "post-start":
        from phoenix_apparmor.init_process import UNCONFINED

        begun = _has_begun(host, ctid)
        status = _guarded(host, ctid, _verify_unit, tell_pct=begun)
        # Failing here stops the container. Under another profile than ours it may be on purpose.
        return status if begun and status == UNCONFINED else 0
    status = 0 if is_settled(host, ctid) else _guarded(host, ctid, _start_unit, tell_pct=True)
    if status == 0:
        _begun(host, ctid)
    return status


def _begun(host: Host, ctid: str) -> None:
    """Notes that this start went through us: only such a one is stopped by the step after it.

    An admin may empty ExecStartPre= for one container, to do without us there.
    """
    try:
        host.own_folder(paths.RUN, 0o700)
        host.own_folder(paths.LOCKS, 0o700)
        place = host.path(paths.begun(ctid))
        os.close(os.open(place, os.O_CREAT | os.O_NOFOLLOW, 0o600))
    except (OSError, PhoenixError):
        return  # then what is wrong after the start is only said


def _has_begun(host: Host, ctid: str) -> bool:
    try:
        os.unlink(host.path(paths.begun(ctid)))
    except OSError:
        return False
    return True


def _watch(host: Host, ctid: str, seconds: float, *, tell_pct: bool = False) -> None:
    """Ends this process with a refusal if it is still there after some time.

    A thread of its own, as a system call that hangs lets nothing else in this one run. _thread
    is built in; threading and signal would cost a start more than all else here.
    """
    import _thread
    import time

    def late() -> None:
        time.sleep(seconds)
        refusal = PhoenixError(
            f"not prepared within {seconds} s, so it was not started: a file system or program is "
            "not responding.",
            hint="See: systemctl status pve-cluster; journalctl -k -p err",
            ctid=ctid,
        )
        try:
            _tell(sys.stderr, "".join(f"{line}\n" for line in refusal.lines()))
            if tell_pct:
                write_for_pct(host, ctid, refusal)
            host.journal(ERROR, f"CT {ctid}: not prepared within {seconds} s.", ctid=ctid)
        finally:
            os._exit(1)

    _thread.start_new_thread(late, ())


def _give_up(host: Host, ctid: str, seconds: float) -> None:
    """Ends this process well if it is still there after some time; the journal has it."""
    import _thread
    import time

    def late() -> None:
        time.sleep(seconds)
        what = f"CT {ctid}: what confines it was not found out within {seconds} s of its start."
        try:
            host.journal(WARNING, f"{what} To see it: phoenix-apparmor status {ctid}", ctid=ctid)
        finally:
            os._exit(0)

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


def _no_ctid(ctid: str) -> PhoenixError:
    return PhoenixError(
        f'"{ctid}" is not a valid CTID: a CTID is a number from 100 to 999999999.',
        hint="Proxmox calls this as: hookscript CTID pre-start",
    )


def _guarded(host: Host, ctid: str, action: "Action", *, tell_pct: bool = False) -> int:
    """Runs an action; every failure of it, an unforeseen one too, is a refusal with a reason."""
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


def _start(host: Host, ctid: str) -> int:
    prepared = _prepare(host, ctid, "hookscript")
    for warning in prepared.warnings:
        _tell(sys.stderr, f"WARN: {warning}\n")
    if prepared.changes:
        _tell(sys.stdout, f"CT {ctid}: {one_line('; '.join(prepared.changes))}\n")
    return 0


def _start_unit(host: Host, ctid: str) -> int:
    _prepare(host, ctid, "unit")
    return 0


def _prepare(host: Host, ctid: str, where: "Where") -> "Prepared":
    from phoenix_apparmor.start import prepare

    prepared = prepare(host, ctid, where)
    profile = prepared.assignment.name if prepared.assignment is not None else None
    for warning in prepared.warnings:
        host.journal(WARNING, " ".join(warning.lines()), ctid=ctid, profile=profile)
    if prepared.changes:
        text = f"CT {ctid}: {'; '.join(prepared.changes)}"
        host.journal(NOTICE, text, ctid=ctid, profile=profile)
    return prepared


def write_for_pct(host: Host, ctid: str, error: PhoenixError) -> None:
    """pct start prints these lines as warnings when the unit did not start."""
    try:
        with open(host.path(f"/run/pve/ct-{ctid}.warnings"), "a", encoding="utf-8") as file:
            file.write("".join(f"{line}\n" for line in error.lines()))
    except OSError:
        return  # no Proxmox; stderr and the journal have it


def _verify(host: Host, ctid: str) -> int:
    from phoenix_apparmor.init_process import verify

    verify(host, ctid)
    return 0


def _verify_unit(host: Host, ctid: str) -> int:
    from phoenix_apparmor.init_process import INIT_SECONDS, verify

    verify(host, ctid, wait=INIT_SECONDS, monitor=os.environ.get("MAINPID", ""))
    return 0


def _release(host: Host, ctid: str) -> int:
    from phoenix_apparmor.start import release

    release(host, ctid)
    return 0


def _refused(host: Host, error: PhoenixError) -> int:
    """The reason and how to fix it: two lines in the task log, one in the journal."""
    _tell(sys.stderr, f"{error}\n")
    host.journal(ERROR, " ".join(error.lines()), ctid=error.ctid)
    return error.status


if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

    Action = Callable[[Host, str], int]
