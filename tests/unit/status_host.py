"""Hosts that status, its table and its metrics are shown on, and the check of a JSON output."""

import functools
import hashlib
import json
import os
import pty
from typing import Any

import jsonschema

from tests.names import BASE, DOCKER
from tests.unit.fakehost import PYTHON, REPO, FakeHost

LINE = "lxc.apparmor.profile: "


def validated(name: str, text: str) -> Any:
    """A JSON output, checked against the schema that ships."""
    document = json.loads(text)
    _validator(name).validate(document)
    return document


@functools.cache
def _validator(name: str) -> jsonschema.Draft7Validator:
    """To check the schema itself takes longer than all that is done with it."""
    (file,) = (REPO / "phoenix_apparmor").glob(f"*/{name}.schema.json")
    schema = json.loads(file.read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    return jsonschema.Draft7Validator(schema)


def container(host: FakeHost, ctid: str, name: str, line: str | None) -> None:
    host.conf(ctid, f"arch: amd64\nhostname: {name}\n" + (f"{LINE}{line}\n" if line else ""))


def quiet_host(host: FakeHost) -> None:
    """A Proxmox host on which all is as it should be."""
    host.proxmox()
    md5s = {}
    for name in (BASE, DOCKER):
        path = host.profile(name)
        md5s[name.replace("-", "_")] = hashlib.md5(path.read_bytes()).hexdigest()
    host.dpkg(**md5s)
    host.assign(c950=BASE, c952=DOCKER, c955="unconfined", c960=BASE)
    host.load(BASE, DOCKER)
    container(host, "100", "router", None)
    container(host, "950", "vllm-qwen2.5-7b-awq", BASE)
    container(host, "952", "qdrant-VSCodeRag", DOCKER)
    container(host, "955", "ollama-oWUI", None)
    container(host, "960", "spare", BASE)
    host.running("100", "lxc-100_</var/lib/lxc> (enforce)", 4000)
    host.running("950", f"{BASE} (enforce)", 4001)
    stacked = f"{DOCKER}//&:lxc-952_<-var-lib-lxc>:unconfined (enforce)"
    host.running("952", stacked, 4002)
    host.running(
        "955", "lxc-955_</var/lib/lxc>//&:lxc-955_<-var-lib-lxc>:unconfined (enforce)", 4003
    )


def mixed_host(host: FakeHost) -> None:
    """A host with one of everything that can be off."""
    quiet_host(host)
    host.json(
        {
            "950": {},
            "951": {"apparmor_profile": DOCKER},
            "952": {"apparmor_profile": DOCKER},
            "953": {"apparmor_profile": "lxc_phoenix_v1"},
            "954": {"apparmor_profile": "lxc-nowhere"},
            "955": {"apparmor_profile": "unconfined"},
            "956": {"apparmor_profile": BASE},
            "957": {"apparmor_profile": BASE},
            "958": {"apparmor_profile": "lxc-mine"},
            "960": {},
            "961": {},
            "970": {},
        }
    )
    container(host, "951", "docker", DOCKER)
    host.running("951", f"{BASE} (enforce)", 4004)
    container(host, "953", "old-name", None)
    container(host, "954", "nowhere", "lxc-nowhere")
    container(host, "956", "escaped", BASE)
    host.running("956", "unconfined", 4005)
    host.conf("957", f"hostname: twice\n{LINE}lxc-x\n{LINE}{BASE}\n")
    container(host, "958", "mine", "lxc-mine")
    container(host, "961", "failed", BASE)
    host.failed("961")
    host.profile("lxc-mine", flags="flags=(complain) ")
    host.load("lxc-mine")
    host.profile(DOCKER, "  # edited and not loaded")
    host.write(f"/etc/apparmor.d/{DOCKER}.dpkg-dist", "new text\n")


def on_terminal(host: FakeHost, *arguments: str, **environment: str) -> str:
    """What the command writes to a terminal of 80 columns, both outputs."""
    pid, fd = pty.fork()
    if pid == 0:
        env = {**host.environment, "PYTHONPATH": str(REPO), "TERM": "xterm", **environment}
        os.chdir("/")
        command = [PYTHON, "-m", "phoenix_apparmor", "--root", str(host.root), *arguments]
        os.execve(PYTHON, command, env)
    parts = []
    while True:
        try:
            part = os.read(fd, 1 << 16)
        except OSError:  # EIO: the other end has closed
            break
        if not part:
            break
        parts.append(part)
    os.close(fd)
    os.waitpid(pid, 0)
    return b"".join(parts).decode()
