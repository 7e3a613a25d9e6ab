"""Proxmox phases -> starting. What stands here runs at each start of a container.

Proxmox calls ``HOOKSCRIPT CTID PHASE`` (PVE::GuestHelpers::exec_hookscript); exit status 1 at
pre-start aborts the start, in the other phases it only warns. Its stdout and stderr are the
task log.
"""

import os
import sys

from phoenix_apparmor import paths
from phoenix_apparmor.errors import PhoenixError, one_line
from phoenix_apparmor.host import ERROR, NOTICE, WARNING, Host
from phoenix_apparmor.settled import is_settled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from phoenix_apparmor.start import Prepared, Where


def main(arguments: list[str]) -> int:
    """The hookscript: [CTID, PHASE]. Phases that are none of ours are none of our business."""
    host = Host(os.environ.get("PHOENIX_APPARMOR_ROOT", ""))
    if len(arguments) != 2:
        sys.stderr.write("usage: hookscript CTID pre-start|post-start|pre-stop|post-stop\n")
        return 64
    ctid, phase = arguments
    if phase not in ("pre-start", "post-start"):
        return 0
    if not paths.is_ctid(ctid):
        return _refused(host, _no_ctid(ctid))
    if phase == "pre-start":
        if is_settled(host, ctid):
            return 0
        return _guarded(host, ctid, _start)
    host.mark(paths.CHANGED)
    return _guarded(host, ctid, _verify)


def unit(arguments: list[str]) -> int:
    """What the drop-ins of pve-container@.service call: [pre-start|post-stop, CTID].

    stdout is null there and stderr garbles Proxmox' own messages, so a start that goes on
    says nothing on either. What is written to /run/pve/ct-CTID.warnings is shown by pct
    start when the start is refused.
    """
    host = Host(os.environ.get("PHOENIX_APPARMOR_ROOT", ""))
    if len(arguments) != 2 or arguments[0] not in ("pre-start", "post-stop"):
        sys.stderr.write("usage: unit pre-start|post-stop CTID\n")
        return 64
    step, ctid = arguments
    if not paths.is_ctid(ctid):
        return 0 if step == "post-stop" else _refused(host, _no_ctid(ctid))
    host.mark(paths.CHANGED)
    if step == "post-stop":
        return _guarded(host, ctid, _release)
    if is_settled(host, ctid):
        return 0
    return _guarded(host, ctid, _start_unit, tell_pct=True)


def _no_ctid(ctid: str) -> PhoenixError:
    return PhoenixError(
        f'"{ctid}" is no CTID: a CTID is a number from 100 to 999999999.',
        hint="Proxmox calls this as: hookscript CTID pre-start",
    )


def _guarded(host: Host, ctid: str, action: "Action", *, tell_pct: bool = False) -> int:
    """Runs an action; every failure of it, an unforeseen one too, is a refusal with a reason."""
    try:
        return action(host, ctid)
    except PhoenixError as error:
        refusal = error
    except Exception as error:  # noqa: BLE001  (whatever it is, the container must not start)
        import traceback

        host.journal(ERROR, traceback.format_exc(), ctid=ctid)
        refusal = PhoenixError(
            f"{type(error).__name__}: {error}",
            hint="That is an error in phoenix-apparmor; the journal has the details: "
            "journalctl -t phoenix-apparmor",
            ctid=ctid,
        )
    if tell_pct:
        _tell_pct(host, ctid, refusal)
    return _refused(host, refusal)


def _start(host: Host, ctid: str) -> int:
    prepared = _prepare(host, ctid, "hookscript")
    for warning in prepared.warnings:
        sys.stderr.write(f"WARN: {warning}\n")
    if prepared.changes:
        sys.stdout.write(f"CT {ctid}: {one_line('; '.join(prepared.changes))}\n")
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


def _tell_pct(host: Host, ctid: str, error: PhoenixError) -> None:
    """pct start prints these lines as warnings when the unit did not start."""
    try:
        with open(host.path(f"/run/pve/ct-{ctid}.warnings"), "a", encoding="utf-8") as file:
            file.write("".join(f"{line}\n" for line in error.lines()))
    except OSError:
        return  # no Proxmox; stderr and the journal have it


def _verify(host: Host, ctid: str) -> int:
    from phoenix_apparmor.start import verify

    verify(host, ctid)
    return 0


def _release(host: Host, ctid: str) -> int:
    from phoenix_apparmor.start import release

    release(host, ctid)
    return 0


def _refused(host: Host, error: PhoenixError) -> int:
    """The reason and the way out: two lines in the task log, one in the journal."""
    sys.stderr.write(f"{error}\n")
    host.journal(ERROR, " ".join(error.lines()), ctid=error.ctid)
    return error.status


if TYPE_CHECKING:
    from collections.abc import Callable

    Action = Callable[[Host, str], int]
