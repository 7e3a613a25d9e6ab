"""Prometheus and its node exporter of Debian, run for a test."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.build import TREE

RULES = TREE / "debian/monitoring/prometheus-rules.yml"
SECONDS = 60


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(*command: str) -> Iterator[None]:
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield
        except Exception as error:
            log.seek(0)
            error.add_note(log.read()[-3000:].decode(errors="replace"))
            raise
        finally:
            process.terminate()
            process.wait(timeout=30)


def exporter(port: int, folder: Path) -> contextlib.AbstractContextManager[None]:
    """A node exporter with the metrics of the files in a folder, and no others."""
    return running(
        "prometheus-node-exporter", f"--web.listen-address=127.0.0.1:{port}",
        "--collector.disable-defaults", "--collector.textfile",
        f"--collector.textfile.directory={folder}",
    )  # fmt: skip


def server(
    port: int, folder: Path, nodes: Mapping[str, int]
) -> contextlib.AbstractContextManager[None]:
    """A Prometheus with our rules that scrapes an exporter a node, every second.

    nodes: how the node is called (instance) -> port of its exporter.
    """
    targets = [
        {"targets": [f"127.0.0.1:{port}"], "labels": {"instance": name}}
        for name, port in nodes.items()
    ]
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [{"job_name": "node", "static_configs": targets}],
    }
    file = folder / "prometheus.yml"
    file.write_text(json.dumps(config))
    return running(
        "prometheus", f"--config.file={file}", f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    )  # fmt: skip


def asked(port: int, path: str, **arguments: str) -> Any:
    """The data of Prometheus' answer."""
    query = urllib.parse.urlencode(arguments)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}?{query}", timeout=10) as answer:
        return json.load(answer)["data"]


def until(what: Callable[[], Any]) -> None:
    """Waits until something is true; the end of SECONDS shows why it is not."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            if what():
                return
        time.sleep(0.5)
    assert what()
