#!/usr/bin/python3 -IS
"""apparmor_parser for a fake host: "compiles" and "loads" into the tree above --base."""

import hashlib
import os
import re
import sys

CACHE = "/var/cache/apparmor/0123abcd.0"


def read(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read().removeprefix("POLICY\0")  # -B: compiled before


def main(argv: list[str]) -> int:
    base = argv[argv.index("--base") + 1]
    root = os.path.dirname(os.path.dirname(base))
    path = argv[-1]
    with open(os.path.join(root, "fake-parser-calls"), "a") as log:
        log.write(" ".join(argv) + "\n")
    text = read(path)
    compiled = "-B" in argv
    for name in [] if compiled else re.findall(r"include if exists <(local/[^>]+)>", text):
        local = os.path.join(base, name)
        if os.path.exists(local):
            text += read(local)
            path = local
    for number, line in enumerate(text.split("\n"), 1):
        if "SYNTAX ERROR" in line:
            where = f"{argv[-1]} in {path} at line {number}"
            sys.stderr.write(f"AppArmor parser error for {where}: syntax error\n")
            return 0 if "EXIT 0" in line else 1
    policy = b"POLICY\0" + text.encode(errors="surrogateescape")
    if "-W" in argv or "-QTWS" in argv:
        os.makedirs(root + CACHE, exist_ok=True)
        with open(f"{root}{CACHE}/{os.path.basename(argv[-1])}", "wb") as file:
            file.write(policy)
    if "-QTKS" in argv or "-QTWS" in argv:
        sys.stdout.buffer.write(policy)
        return 0
    kernel = root + "/sys/kernel/security/apparmor"
    for match in re.finditer(r"^profile (\S+) (?:flags=\(([^)]*)\))?", text, re.MULTILINE):
        name = match[1]
        if "NOT LOADED" in text:
            continue
        mode = "complain" if "complain" in (match[2] or "") else "enforce"
        listing = [
            x
            for x in read(kernel + "/profiles").splitlines(keepends=True)
            if not x.startswith(name + " (")
        ]
        with open(kernel + "/profiles.new", "w") as file:
            file.write("".join(listing) + f"{name} ({mode})\n")
        os.rename(kernel + "/profiles.new", kernel + "/profiles")
        folder = f"{kernel}/policy/profiles/{name}.1"
        os.makedirs(folder, exist_ok=True)
        digest = hashlib.sha256(policy).hexdigest()
        for leaf, value in (("name", name), ("mode", mode), ("raw_sha256", digest)):
            with open(f"{folder}/{leaf}", "w") as file:
                file.write(value + "\n")
    return 0


sys.exit(main(sys.argv[1:]))
