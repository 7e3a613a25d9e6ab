"""Publishing this node's report: when, how often, and what the file system allows.

Every write goes to every node through corosync and into a database there, so:
- The text is written only when something but the time changed, at most once a minute, and a
  large one more rarely: at most 1 KiB a second. Of 32 nodes with 1,000 containers each, some
  200 KiB a report, that is one write a node in 200 s and at most 32 KiB/s for all together,
  however many containers start; pmxcfs carries far more when the nodes' HA managers are busy.
- While nothing changes, only the file's time is set, every ten minutes: a message of 100 bytes
  a node, one in 19 s for 32 nodes. By that the others know that the node still looks. (Each
  node's database writes the whole row again, memdb_mtime: 11 KiB/s for 32 reports of 200 KiB.)
"""

import errno
import time
from collections.abc import Callable
from typing import Literal

from phoenix_apparmor import paths
from phoenix_apparmor.cluster import members, node_report, own_report
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host
from phoenix_apparmor.locks import Lock
from phoenix_apparmor.status import collect

LEAST_SECONDS = 60.0
BYTES_A_SECOND = 1024
BEAT = 600
# A container that was just told of needs so long to be up, or gone.
SETTLE = 10.0
# Rounds of one run that waits; the timer has the rest.
ROUNDS = 20

Result = Literal["written", "unchanged", "too soon", "no quorum", "busy"]


def publish(host: Host, *, wait: bool, sleep: Callable[[float], None] = time.sleep) -> Result:
    """Publishes this node's report if that is due.

    wait: as the timer does it: let containers settle first, then wait until it is due, and
    look again if a container started or stopped meanwhile. Raises PhoenixError.
    """
    who = members.need(host)
    with Lock(host, paths.PUBLISH_LOCK, wait=0) as lock:
        if not lock.held:
            return "busy"
        result: Result = "unchanged"
        for _ in range(ROUNDS if wait else 1):
            if wait:
                sleep(SETTLE)
                sleep(due_in(host, who.me, time.time()))
            elif due_in(host, who.me, time.time()) > 0:
                return "too soon"
            before = host.stat(paths.CHANGED)
            result = _once(host, who.me)
            after = host.stat(paths.CHANGED)
            if after is None or (before is not None and before.st_mtime_ns == after.st_mtime_ns):
                break
        return result


def due_in(host: Host, node: str, now: float) -> float:
    """Seconds until the report may be written again."""
    old = _published(host, node)
    if old is None:
        return 0.0
    since = now - _written(old, node)
    # A clock that was set back must not silence the node.
    return max(0.0, max(LEAST_SECONDS, len(old) / BYTES_A_SECOND) - since) if since >= 0 else 0.0


def document(host: Host, node: str, now: float) -> bytes:
    """What would be published now."""
    report = collect.inspect(host, progress=lambda _: None)
    return node_report.encode(own_report.of_node(host, report, node, now))


def _once(host: Host, node: str) -> Result:
    now = time.time()
    new = document(host, node, now)
    old = _published(host, node)
    path = paths.published(node)
    try:
        if old is not None and _without_time(old) == _without_time(new):
            seen = host.stat(path)
            if seen is None or abs(now - seen.st_mtime) >= BEAT:
                host.touch(path, now)
            return "unchanged"
        if host.stat(f"{paths.NODES}/{node}") is None:
            raise PhoenixError(
                f"there is no {paths.NODES}/{node}.", hint="See: systemctl status pve-cluster"
            )
        host.make_folder(path.rpartition("/")[0])
        host.replace(path, new, mode=0o600)
    except PhoenixError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno == errno.EACCES:
            return "no quorum"
        raise
    return "written"


def _published(host: Host, node: str) -> bytes | None:
    try:
        return host.read(paths.published(node), node_report.BIGGEST)
    except OSError:
        return None


def _without_time(data: bytes) -> bytes:
    """All but the line of the time, which encode puts second."""
    first, _, rest = data.partition(b"\n")
    return first + rest.partition(b"\n")[2]


def _written(data: bytes, node: str) -> int:
    try:
        return node_report.decode(data, node).written
    except node_report.BadNodeReport:
        return 0
