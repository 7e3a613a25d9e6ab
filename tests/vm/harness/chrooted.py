"""Compiles profiles in the root of a VM's parser: run by policies.py, in a process of its own.

    python3 -m tests.vm.harness.chrooted ROOT RELEASE VERSION [PROFILE...] <DOCUMENT

RELEASE and VERSION are those of the VM's kernel (uname -r, -v). DOCUMENT is empty, for these
profiles in the root or all that the package loads, or a phoenix_lxc_configs.json, for what its
containers need beside those. It is the product's own code that compiles and keeps: into
/var/cache in the root.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from unittest import mock

# (commands, encodings: what is imported only when it is used is out of reach then.)
from phoenix_apparmor import commands, paths
from phoenix_apparmor.assignments.parse import Assignment, assignments
from phoenix_apparmor.host import Host
from phoenix_apparmor.policy import compiled, files, variants
from phoenix_apparmor.policy.files import ProfileFile


def main() -> None:
    root, release, version, *wanted = sys.argv[1:]
    document = sys.stdin.buffer.read()
    entries = assignments(document) if document else {}
    os.environ["PATH"] = commands.STANDARD_PATH
    os.chroot(root)
    os.chdir("/")
    machine = os.uname()
    seen = os.uname_result((machine.sysname, machine.nodename, release, version, machine.machine))
    began = time.monotonic()
    with mock.patch("os.uname", return_value=seen):
        names = _variants(Host(), entries) if document else _profiles(Host(), wanted)
    print(f"{', '.join(names)} in {time.monotonic() - began:.0f} s")


def _profiles(host: Host, wanted: Sequence[str]) -> list[str]:
    found = [files.asked(host, name) for name in wanted] or files.ours(host)
    for file in found:
        compiled.compile_file(host, file, compiled.TO_OUTPUT_AND_CACHE)
    return [file.name for file in found]


def _variants(host: Host, entries: Mapping[str, Assignment]) -> list[str]:
    found: dict[str, bytes] = {}
    for ctid, assignment in entries.items():
        if assignment.trial or assignment.rules:
            found |= variants.texts(host, ctid, assignment)
    host.own_folder(paths.VARIANTS, 0o755)
    for name, text in found.items():
        file = ProfileFile(name, f"{paths.VARIANTS}/{name}", text)
        host.replace(file.path, text, mode=0o600)
        compiled.compile_file(host, file)
    return list(found)


if __name__ == "__main__":
    main()
