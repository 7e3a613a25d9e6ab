"""A host tree in a temporary folder, and programs on PATH that act on it.

The real code runs against it, in its own process, as on a host; only the kernel and
Proxmox's own commands are stand-ins (tests/vm has the real ones).
"""

import functools
import json
import os
import select
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.build import cache_dir, scratch_dir

REPO = Path(__file__).resolve().parents[2]
PYTHON = "/usr/bin/python3"
PROGRAMS = Path(__file__).parent / "fake"
# The tree stays as it is, and its modules are not compiled for every command again.
BYTECODE = cache_dir() / "bytecode"
# tests/run --fast: no forks for the command line (zygote.py), and fixes are read, not run.
FAST = bool(os.environ.get("PHOENIX_TEST_FAST"))

# What a profile that asks for both has in its head.
MARKERS = "# phoenix-apparmor: policy-namespace\n# phoenix-apparmor: privileged-seccomp\n"

PVE_GENERATED = b"""lxc.arch = amd64
lxc.include = /usr/share/lxc/config/debian.common.conf
lxc.idmap = u 0 100000 65536
lxc.idmap = g 0 100000 65536
lxc.apparmor.profile = generated
lxc.apparmor.raw = deny mount -> /proc/,
lxc.uts.name = test
"""


class Done(NamedTuple):
    """Exit status and both outputs of a finished command."""

    status: int
    out: str
    err: str


class Zygote:
    """tests/unit/zygote.py, running. Calls one after the other."""

    def __init__(self) -> None:
        command = [PYTHON, "-m", "tests.unit.zygote"]
        environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8",
            "PYTHONPYCACHEPREFIX": str(BYTECODE),
        }  # fmt: skip
        self.process = subprocess.Popen(
            command, cwd=REPO, env=environment, text=True, bufsize=1,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=None,
        )  # fmt: skip

    @staticmethod
    def can(environment: Mapping[str, str]) -> bool:
        """Whether nothing in it is for the start of a process or of Python."""
        usual = {"PYTHONPATH": str(REPO), "LC_ALL": "C.UTF-8"}
        special = ("PYTHON", "LD_", "LC_", "LANG")
        return all(
            value == usual.get(name) or name == "PYTHONPYCACHEPREFIX"
            for name, value in environment.items()
            if name.startswith(special)
        )

    def run(
        self,
        program: str,
        argv: Sequence[str],
        environment: Mapping[str, str],
        timeout: float = 60,
        *,
        warm: bool = False,
    ) -> Done:
        """program: a module, or the path of a script. warm: so that later ones have it easier."""
        # A hook has a watchdog, which ends its process later.
        here = warm or (FAST and not program.startswith("/"))
        os.umask(umask := os.umask(0))
        place = scratch_dir()
        with (
            tempfile.NamedTemporaryFile(dir=place) as out,
            tempfile.NamedTemporaryFile(dir=place) as err,
        ):
            request = {
                "program": program, "argv": list(argv), "env": dict(environment), "umask": umask,
                "out": out.name, "err": err.name, "here": here, "freeze": warm,
            }  # fmt: skip
            line = json.dumps(request)
            assert self.process.stdin is not None and self.process.stdout is not None
            self.process.stdin.write(line + "\n")
            if not select.select([self.process.stdout], [], [], timeout)[0]:
                self.process.kill()
                zygote.cache_clear()
                raise subprocess.TimeoutExpired(list(argv), timeout)
            answer = self.process.stdout.readline()
            if not answer:
                zygote.cache_clear()
            status = int(answer)
            said = [file.read().decode("utf-8", "backslashreplace") for file in (out, err)]
        return Done(status, said[0], said[1])


@functools.cache
def zygote() -> Zygote:
    """One for this process; it ends with it, as its stdin is closed then."""
    return Zygote()


class FakeHost:
    """Builds and runs; paths are given as on the host."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environment = {
            "PATH": f"{PROGRAMS}:/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL": "C.UTF-8",
            "FAKE_ROOT": str(root),
            "PYTHONPYCACHEPREFIX": str(BYTECODE),
        }
        for folder in ("etc/pve/lxc", "etc/apparmor.d/abstractions", "run", "var/lib/lxc"):
            (root / folder).mkdir(parents=True)
        # The real parser (-p) wants one; its content plays no part there.
        self.write("/etc/apparmor.d/abi/3.0", "")
        self.kernel({})

    def path(self, name: str) -> Path:
        return self.root / name.lstrip("/")

    def write(self, name: str, text: bytes | str) -> Path:
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def read(self, name: str) -> bytes:
        return self.path(name).read_bytes()

    def conf(self, ctid: str, text: bytes | str = b"arch: amd64\nhostname: ct\n") -> Path:
        return self.write(f"/etc/pve/lxc/{ctid}.conf", text)

    def runtime(self, ctid: str, text: bytes = PVE_GENERATED) -> Path:
        return self.write(f"/var/lib/lxc/{ctid}/config", text)

    def json(self, content: Mapping[str, Any] | str | bytes) -> Path:
        """The JSON: text as it is, or the entries of lxc_configs."""
        if not isinstance(content, str | bytes):
            content = json.dumps({"lxc_configs": content})
        path = self.path("/etc/pve/phoenix_lxc_configs.json")
        path.unlink(missing_ok=True)
        path = self.write("/etc/pve/phoenix_lxc_configs.json", content)
        path.chmod(0o640)
        return path

    def assign(self, **profiles: str) -> Path:
        """Assigns profiles: assign(c950="lxc-x")."""
        return self.json({k[1:]: {"apparmor_profile": v} for k, v in profiles.items()})

    def confined(self, ctid: str, *names: str) -> None:
        """A container of the JSON under the first of these profiles, all loaded; no Proxmox."""
        self.conf(ctid)
        self.runtime(ctid)
        for name in names:
            self.profile(name)
        self.kernel(dict.fromkeys(names, "enforce"))
        self.json({ctid: {"apparmor_profile": names[0]}})

    def profile(self, name: str, body: str = "", *, flags: str = "", before: str = "") -> Path:
        return self.write(
            f"/etc/apparmor.d/{name}",
            f"abi <abi/3.0>,\n{before}profile {name} {flags}{{\n"
            f"  include if exists <abstractions/phoenix/nvidia>\n  /usr/** rw,\n{body}\n"
            f"  include if exists <local/{name}>\n}}\n",
        )

    def kernel(self, modes: Mapping[str, str] | None) -> None:
        """Profiles that the kernel has, with their mode; None: no AppArmor."""
        listing = self.path("/sys/kernel/security/apparmor/profiles")
        if modes is None:
            listing.unlink(missing_ok=True)
            return
        self.path("/sys/kernel/security/apparmor/policy/profiles").mkdir(
            parents=True, exist_ok=True
        )
        for name in ("policy/namespaces", "features"):
            self.path(f"/sys/kernel/security/apparmor/{name}").mkdir(exist_ok=True)
        listing.write_text("".join(f"{name} ({mode})\n" for name, mode in modes.items()))

    def running(self, ctid: str, label: str, pid: int = 4242) -> None:
        """A running container: its init's label, as the kernel shows it."""
        self.write(f"/proc/{pid}/attr/apparmor/current", f"{label}\n")
        self.write(f"/fake/pid/{ctid}", f"{pid}\n")
        self.executes("/usr/lib/systemd/systemd", pid)
        unix = self.path("/proc/net/unix")
        unix.parent.mkdir(parents=True, exist_ok=True)
        with unix.open("a") as file:
            file.write(f"0: 00000002 00000000 00010000 0001 01 9 @/var/lib/lxc/{ctid}/command\n")

    def executes(self, program: str, pid: int = 4242) -> None:
        """What a process runs, as the kernel shows it."""
        exe = self.path(f"/proc/{pid}/exe")
        exe.parent.mkdir(parents=True, exist_ok=True)
        exe.unlink(missing_ok=True)
        exe.symlink_to(program)

    def load(self, *names: str) -> None:
        """Loads profiles into the fake kernel, as apparmor_parser -r does."""
        for name in names:
            path = self.path(f"/etc/apparmor.d/{name}")
            done = self.run("apparmor_parser", "--base", str(path.parent), "-r", str(path))
            assert done.status == 0, done

    def failed(self, *ctids: str) -> None:
        """Containers whose last start failed, as systemd lists their units."""
        self.path("/run/systemd/system").mkdir(parents=True)
        line = "{} loaded failed failed PVE LXC Container: {}\n"
        units = "".join(line.format(f"pve-container@{c}.service", c) for c in ctids)
        self.write("/fake/failed", units)

    def dpkg(self, **md5: str) -> None:
        """dpkg's view of the package: conffile in /etc/apparmor.d -> md5 as last shipped."""
        lines = "".join(f" /etc/apparmor.d/{n.replace('_', '-')} {m}\n" for n, m in md5.items())
        self.write("/var/lib/dpkg/info/format", "1\n")
        self.write(
            "/var/lib/dpkg/status",
            "Package: phoenix-apparmor\nStatus: install ok installed\nVersion: 1\n"
            f"Maintainer: x <x@x.x>\nArchitecture: all\nDescription: x\nConffiles:\n{lines}\n",
        )

    def proxmox(self) -> None:
        """Proxmox's generator is there (tests/unit/fake/perl acts as it), and our drop-in."""
        self.write("/usr/share/perl5/PVE/LXC.pm", "1;\n")
        folder = "/usr/lib/systemd/system/pve-container@.service.d"
        self.write(f"{folder}/50-phoenix-apparmor.conf", "[Service]\n")
        self.write("/usr/libexec/phoenix-apparmor/unit", "#!/bin/sh\n").chmod(0o755)

    def settle(self) -> None:
        """Lets the validated copy be of a JSON that has not changed for long."""
        path = self.path("/var/lib/phoenix-apparmor/assignments")
        lines = path.read_bytes().split(b"\n")
        words = lines[2].split(b" ")
        words[-1] = b"%d" % (int(words[-1]) + 60_000_000_000)
        lines[2] = b" ".join(words)
        path.write_bytes(b"\n".join(lines))

    def run(self, *command: str, timeout: float = 60, **environment: str) -> Done:
        return self.execute(command, environment, timeout=timeout)

    def execute(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        timeout: float = 60,
        user: int | None = None,
    ) -> Done:
        done = subprocess.run(
            command,
            env={**self.environment, **environment},
            cwd="/",
            capture_output=True,
            timeout=timeout,
            check=False,
            user=user,
        )
        return Done(
            done.returncode,
            done.stdout.decode("utf-8", "backslashreplace"),
            done.stderr.decode("utf-8", "backslashreplace"),
        )

    def cli(self, *arguments: str, **environment: str) -> Done:
        """The real command line, from the source tree."""
        whole = {**self.environment, "PYTHONPATH": str(REPO), **environment}
        argv = ["--root", str(self.root), *arguments]
        if Zygote.can(whole):
            return zygote().run("phoenix_apparmor", argv, whole)
        return self.execute([PYTHON, "-m", "phoenix_apparmor", *argv], whole)

    def cli_as_nobody(self, *arguments: str) -> Done:
        """The command line for a user who may not do anything.

        From a copy of the package: the source tree can be in root's home, which is closed.
        """
        self.root.chmod(0o755)
        copy = self.path("/fake/python/phoenix_apparmor")
        shutil.copytree(REPO / "phoenix_apparmor", copy, dirs_exist_ok=True)
        command = [PYTHON, "-m", "phoenix_apparmor", "--root", str(self.root), *arguments]
        return self.execute(command, {"PYTHONPATH": str(copy.parent)}, user=65534)

    def hook_file(self, name: str) -> str:
        """hooks/NAME as it is shipped, but with the source tree on its path."""
        path = self.path(f"/fake/{name}")
        if not path.exists():
            text = (REPO / "hooks" / name).read_text()
            old = 'sys.path.append("/usr/lib/python3/dist-packages")\n'
            new = f'sys.path.append("{REPO}")\n{old}'
            if name == "hookscript":
                old, new = "/usr/libexec/phoenix-apparmor/hook ", f"{self.hook_file('hook')} "
            assert old in text
            self.write(f"/fake/{name}", text.replace(old, new))
            path.chmod(0o755)
        return str(path)

    def hook(self, ctid: str, phase: str = "pre-start", **environment: str) -> Done:
        """What the hookscript calls where there is something to do."""
        return self._hook("hook", (ctid, phase), environment)

    def unit(self, step: str, ctid: str, **environment: str) -> Done:
        """What the drop-in of the unit calls."""
        return self._hook("unit", (step, ctid), environment)

    def _hook(self, name: str, argv: tuple[str, str], environment: Mapping[str, str]) -> Done:
        whole = {**self.environment, "PHOENIX_APPARMOR_ROOT": str(self.root), **environment}
        if Zygote.can(whole):
            return zygote().run(self.hook_file(name), argv, whole)
        return self.execute([self.hook_file(name), *argv], whole)


class Journal:
    """The journal's socket of a fake host; lines() gives what was sent, fields by name."""

    def __init__(self, host: FakeHost) -> None:
        path = host.path("/run/systemd/journal/socket")
        path.parent.mkdir(parents=True, exist_ok=True)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.bind(os.fspath(path))

    def entries(self) -> list[dict[str, str]]:
        result: list[dict[str, str]] = []
        while True:
            try:
                data = self.socket.recv(1 << 16)
            except BlockingIOError:
                return result
            result.append(dict(line.split("=", 1) for line in data.decode().strip().split("\n")))

    def messages(self) -> list[str]:
        return [entry["MESSAGE"] for entry in self.entries()]
