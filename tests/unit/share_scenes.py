"""Mounts of a container, made in a mount namespace of their own, and what locks them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.fakehost import REPO

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes mounts")

# As root of the host, in a mount namespace of its own: the host's folders, and a container's.
BEGIN = r"""
import sys
sys.path.insert(0, sys.argv[1])
import ctypes, os, subprocess
from phoenix_apparmor import mountholder, mountlock, shares
from phoenix_apparmor.errors import PhoenixError

def sh(text):
    return subprocess.run(["sh", "-ec", text], stderr=subprocess.DEVNULL).returncode == 0

def status(config="", pid=None):
    names = {"LXC_NAME": "952", "LXC_CONFIG_FILE": config, "PHOENIX_APPARMOR_ROOT": here}
    return shares.main({"LXC_PID": str(pid or os.getpid()), **names})

def told():
    # what pct shows of it
    try:
        with open(here + "/run/pve/ct-952.warnings") as file:
            return " ".join(file.read().split("\n"))
    except FileNotFoundError:
        return "nothing"

how, here = sys.argv[2:]
os.environ["HERE"] = here
assert sh('mount --make-rprivate / && cd "$HERE" && mkdir host ct && mount -t tmpfs none ct')
os.makedirs(here + "/run/pve")
os.chdir(here + "/ct")
"""

# As where its programs are held already: this machine's kernel is not to ask them.
HELD = 'from phoenix_apparmor import kernelguard\nkernelguard.PINS = "/"\n'

# A share, one in it and a file.
SHARES = r"""
assert sh('''mkdir src share "sha re" w && mkdir src/in && touch src/file file share/old
mount --bind src share && mount -o remount,bind,ro share
mount -t tmpfs none share/in && touch share/in/x && mount -o remount,bind,ro share/in
mount --bind src 'sha re' && mount -o remount,bind,ro 'sha re'
mount --bind src/file file && mount -o remount,bind,ro file && mount --bind src w''')
tries = (
    "mount -o remount,bind,rw share && touch share/a",
    "mount -o remount,bind,rw share/in && touch share/in/b",
    "mount -o remount,rw share && touch share/c",
    "mount -o remount,bind,rw 'sha re' && touch 'sha re/d'",
    "mount -o remount,bind,rw file && echo >file",
    "mkdir -p o; mount --bind share o; mount -o remount,bind,rw o; touch o/e",
)
if how == "lock":
    assert status() == 0
    assert sh("test -e share/file -a -e share/in/x -a -e 'sha re/file'")
    assert sh("touch w/f && mount -o remount,bind,ro share && umount 'sha re'")
    assert sh("mount --bind src 'sha re' && mount -o remount,bind,ro 'sha re'")
    mountlock.lock(os.getpid(), {})
if how in ("cannot", "used up"):
    with open("/proc/sys/user/max_user_namespaces", "w") as file:
        file.write("0" if how == "cannot" else "1")
    used = subprocess.Popen(["unshare", "-Ur", "sleep", "60"], stdout=subprocess.DEVNULL)
    os.set_blocking(0, True)
    while how == "used up" and os.readlink(f"/proc/{used.pid}/ns/user") == os.readlink(
        "/proc/self/ns/user"
    ):
        pass
    try:
        mountlock.lock(os.getpid(), {})
    except PhoenixError as error:
        print(error.status, error.what, error.hint)
    used.kill()
    assert sh("test -e share/file -a -e share/in/x -a ! -w share"), "all is as it was"
    sys.exit()
if how == "fails":
    def start(*_):
        raise OSError(40, "Too many levels of symbolic links")
    mountholder.start = start
    print(0, status())
    print(1, told())
    sys.exit()
for number, one in enumerate(tries):
    print(number, sh(one))
"""

# Another container renames in the folder all the while, of which this one has a part.
RACES = r"""
assert sh('''cd "$HERE/host" && mkdir -p sec w/sub/a/ro w/sub/b w/out/ro && touch sec/old
ln -s a w/sub/l''')
assert sh('''mkdir srv x && mount --bind "$HERE/host/w/sub" srv
mount --bind "$HERE/host/sec" srv/a/ro && mount -o remount,bind,ro srv/a/ro''')
lock, race = how.split()
if race == "beside":
    assert sh('mount --bind "$HERE/host/sec" srv/b && mount -o remount,bind,ro srv/b')
other = {"links": "w/sub/l", "folders": "w/sub/b"}.get(race, "w/out")
other = os.fsencode(f"{here}/host/{other}")
place = os.fsencode(f"{here}/host/w/sub/a")

def exchange():
    assert ctypes.CDLL(None).syscall(316, -100, place, -100, other, 2) == 0  # renameat2

if race in ("away", "beside"):
    exchange()
else:
    renames = os.fork()
    if renames == 0:
        stop = []
        import signal, time
        signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
        while not stop:
            for _ in range(2):
                exchange()
                time.sleep(0.0003)
        os._exit(0)
if lock == "lock":
    print(0, status())
if race in ("away", "beside"):
    exchange()
else:
    os.kill(renames, 15)
    os.waitpid(renames, 0)
print(1, sh("test -e srv/a/ro/old"))
print(2, sh("mount -o remount,bind,rw srv/a/ro && touch srv/a/ro/a"))
print(3, os.path.exists(f"{here}/host/sec/a"))
"""

# What is left of a mount that another one hides, or that is in a share that can be written.
PLACES = r"""
lock, where = how.split()
assert sh('mkdir -p "$HERE/host/sec/d" srv/x && touch "$HERE/host/sec/old"')
sec = 'mount --bind "$HERE/host/sec" {0} && mount -o remount,bind,ro {0}'
made, tried, seen = {
    "twice": (sec.format("srv") + " && " + sec.format("srv"), "umount srv", "srv/old"),
    "above": (
        sec.format("srv/x") + " && mount -t tmpfs none srv && touch srv/a",
        "umount srv",
        "srv/a",
    ),
    "above2": (
        'mkdir "$HERE/host/w" && touch "$HERE/host/w/a" && '
        + sec.format("srv/x") + ' && mount --bind "$HERE/host/w" srv',
        "umount srv",
        "srv/a",
    ),
    "unbindable": (
        sec.format("srv") + " && mount --bind srv srv/d && mount --make-unbindable srv/d"
        " && mount -o remount,bind,ro srv/d && mount --make-unbindable srv",
        "umount srv/d",
        "srv/d/old",
    ),
    "sys": (sec.format("/sys/kernel"), "mount --bind /sys/kernel srv", "/sys/kernel/old"),
    "below": (
        'mount --bind "$HERE/host" srv && mount --bind srv/sec srv/sec'
        " && mount -o remount,bind,ro srv/sec",
        "mkdir y && mount --bind srv y",
        "srv/sec/old",
    ),
    "below2": (
        'mount --bind "$HERE/host" srv && mount --bind srv/sec srv/sec'
        " && mount -o remount,bind,ro srv/sec",
        "umount srv/sec",
        "srv/sec/old",
    ),
}[where]
assert sh(made)
if lock == "lock":
    print(0, status())
print(1, sh(f"test -e {seen}"))
sh(tried)
for place in ("srv", "srv/x", "srv/d", "srv/sec", "y/sec"):
    sh(f"mount -o remount,bind,rw {place}")
    sh(f"touch {place}/new")
print(2, os.path.exists(f"{here}/host/sec/new"))
"""

# A container in a user namespace: what the host mounted before is locked by the kernel itself.
INSIDE = r"""
assert sh('mkdir -p "$HERE/host/w/stay"')
assert sh('mkdir -p "$HERE/host/sec" "$HERE/host/w/a" srv mp && touch "$HERE/host/sec/old"')
assert sh('''mount --bind "$HERE/host/w" srv
mount --bind "$HERE/host/sec" mp && mount -o remount,bind,ro mp
mkdir -p d/x && mount --bind "$HERE/host/sec" d/x && mount -o remount,bind,ro d/x
mount --bind "$HERE/host/w" d''')
inside = '''mount --bind "$HERE/host/sec" srv/a
mount -o remount,bind,ro srv/a
mount --bind "$HERE/host/sec" srv/stay && mount -o remount,bind,ro srv/stay
touch ready && exec sleep 100'''
init = subprocess.Popen(["unshare", "-Urm", "sh", "-ec", inside], stdout=subprocess.DEVNULL)
while not os.path.exists("ready"):
    assert init.poll() is None
if how == "away":
    os.rename(here + "/host/w/a", here + "/host/a")
    print(0, shares.main({"LXC_PID": str(init.pid), "LXC_NAME": "952"}))
    init.kill()
    sys.exit()
if how == "lock":
    print(0, shares.main({"LXC_PID": str(init.pid), "LXC_NAME": "952"}))
    assert not sh(f"nsenter -U -m -t {init.pid} umount {os.getcwd()}/d"), "so it hides for good"
for at in ("mp", "srv/a"):
    enter = f"nsenter -U -m -t {init.pid} sh -ec 'cd {os.getcwd()};"
    print(1, sh(f"{enter} test -e {at}/old'"))
    print(2, sh(f"{enter} mount -o remount,bind,rw {at} && touch {at}/new'"))
init.kill()
"""

# Two mounts of a share at one place in a folder, or one above it; and the same mended.
HIDDEN = r"""
kind, how = how.split()
assert sh('''mkdir -p "$HERE/host/sec" "$HERE/host/w/s/in" "$HERE/host/other/in" srv
touch "$HERE/host/sec/old" && mount --bind "$HERE/host/w" srv''')
sec = 'mount --bind "$HERE/host/sec" {0} && mount -o remount,bind,ro {0}'
inner = sec.format("srv/s/in" if kind == "over" else "srv/s")
outer = 'mount --bind "$HERE/host/other" srv/s' if kind == "over" else inner
first, last = (inner, outer) if how == "wrong" else (outer, inner)
assert sh(first)
if kind == "over" or how == "wrong":
    assert sh(last)
print(0, status())
print(1, told())
at = "srv/s/in" if kind == "over" else "srv/s"
print(2, sh(f"mount -o remount,bind,rw {at} && touch {at}/new"))
"""

# Root has used up its user namespaces, of which each user may have one here.
USED_UP = r"""
assert sh('mkdir sec srv && mount --bind sec srv && mount -o remount,bind,ro srv')
made, is_made = os.pipe()
mapped, is_mapped = os.pipe()
child = os.fork()
if child == 0:
    assert ctypes.CDLL(None).unshare(0x10020000) == 0  # CLONE_NEWUSER | CLONE_NEWNS
    os.write(is_made, b"x")
    os.read(mapped, 1)
    assert sh("mount --bind sec srv && mount -o remount,bind,ro srv")
    with open("/proc/sys/user/max_user_namespaces", "w") as file:
        file.write("1")
    own = os.readlink("/proc/self/ns/user")
    used = subprocess.Popen(["unshare", "-U", "sleep", "60"])
    while os.readlink(f"/proc/{used.pid}/ns/user") == own:
        pass
    print(0, sh("unshare -U true"))
    # an exec, so that /proc gives this root the files of its children, as it does on the host
    hook = "import sys, os; sys.path.insert(0, sys.argv[1]); import phoenix_apparmor.shares as s; "
    hook += "print(1, s.main(os.environ))"
    names = {"LXC_PID": str(os.getpid()), "LXC_NAME": "952", "PHOENIX_APPARMOR_ROOT": here}
    sys.stdout.flush()
    subprocess.run([sys.executable, "-BIS", "-c", hook, sys.argv[1]], env=names)
    print(2, told(), flush=True)
    used.kill()
    os._exit(0)
os.read(made, 1)
for name in ("uid_map", "gid_map"):
    with open(f"/proc/{child}/{name}", "w") as file:
        file.write("0 0 4294967295")
os.write(is_mapped, b"x")
os.waitpid(child, 0)
"""

# Out of sight where the flags of mounts are all locked; and where a read-only one is in sight too.
UNMARKED = r"""
assert sh('''mkdir -p "$HERE/host/w/a" "$HERE/host/w/b" "$HERE/host/sec" srv
touch "$HERE/host/sec/old"
mount --bind "$HERE/host/w" srv && mount -o remount,bind,nosuid,nodev,noexec srv''')
if how == "away beside":
    assert sh('mount --bind "$HERE/host/sec" srv/b && mount -o remount,bind,ro srv/b')
inside = '''mount --bind "$HERE/host/sec" srv/a && mount -o remount,bind,ro srv/a
touch ready && exec sleep 100'''
init = subprocess.Popen(["unshare", "-Urm", "sh", "-ec", inside], stdout=subprocess.DEVNULL)
while not os.path.exists("ready"):
    assert init.poll() is None
if how.startswith("away"):
    os.rename(here + "/host/w/a", here + "/host/a")
if how != "leave":
    print(0, status(pid=init.pid))
at = os.getcwd() + "/srv/a"
print(1, sh(f"nsenter -U -m -t {init.pid} sh -ec 'mount -o remount,bind,rw {at}; touch {at}/new'"))
init.kill()
"""

# Made read-only by a program in the container, which is in a user namespace; and as it is told.
REMOUNTED = r"""
assert sh('mkdir -p "$HERE/host/w" mp && mount --bind "$HERE/host/w" mp')
if how == "mended":
    assert sh("mount -o remount,bind,ro mp")
inside = "mount -o remount,bind,ro mp; touch ready; exec sleep 100"
init = subprocess.Popen(["unshare", "-Urm", "sh", "-ec", inside], stdout=subprocess.DEVNULL)
while not os.path.exists("ready"):
    assert init.poll() is None
print(0, status(pid=init.pid))
print(1, told())
at = os.getcwd() + "/mp"
print(2, sh(f"nsenter -U -m -t {init.pid} sh -ec 'mount -o remount,bind,rw {at}; touch {at}/new'"))
init.kill()
"""

# Nothing is read-only, and this host allows no user namespaces.
NOTHING = r"""
assert sh('mkdir -p "$HERE/host/w" srv && mount --bind "$HERE/host/w" srv')
with open("/proc/sys/user/max_user_namespaces", "w") as file:
    file.write("0")
os.makedirs(here + "/etc/pve/lxc")
assert sh('touch "$HERE/more" && chmod 666 "$HERE/more"')  # anybody's: it is not read
conf = {
    "writable": "mp0: /srv/w,mp=/srv\n",
    "mp": "mp0: /srv/w,mp=/srv\nmp1: /srv/sec,mp=/srv/in,ro=1\n",
    "entry": "lxc.mount.entry: /srv/sec srv/in none bind,ro 0 0\n",
    "unread": "lxc.include: /more\n",
    "no": None,
    "made": "mp0: /srv/w,mp=/srv\n",
}[how]
if conf is not None:
    with open(here + "/etc/pve/lxc/952.conf", "w") as file:
        file.write(conf)
if how == "made":
    assert sh("mount -o remount,bind,ro srv")
print(0, status())
print(1, told())
"""

# A share with one read-only in it; the process that is to be init, in a folder of its own.
IN_A_SHARE = r"""
assert sh('''mkdir -p "$HERE/host/s/in" s own && mount --bind "$HERE/host/s" s
mount --bind "$HERE/host/s/in" s/in && mount -o remount,bind,ro s/in''')
places = {"shared": "s", "read-only": "s/in", "own": "own", "root": "."}
child = subprocess.Popen(["sleep", "600"], cwd=places[how])
print(0, status(pid=child.pid))
print(1, told())
try:
    open(f"/proc/{child.pid}/cwd/in/x", "w").close()
    print(2, True)
except OSError:
    print(2, False)
child.kill()
"""


# What this machine has read-only itself is no share of a scene.
ALONE = r"""
findmnt -rno TARGET -O ro | while read -r at; do
    case $at in / | /proc* | /sys*) ;; *) umount -l "$at" ;; esac
done
exec "$@"
"""


def tried(how: str, place: Path, namespaces: str = "-m", script: str = SHARES) -> list[str]:
    place = place / how.replace(" ", "-").replace("/", "_")
    place.mkdir()
    code = BEGIN + script
    scene = [sys.executable, "-c", code, str(REPO), how, str(place)]
    argv = ["unshare", "-m", "sh", "-c", ALONE, "sh", "unshare", namespaces, *scene]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [line.partition(" ")[2] for line in done.stdout.splitlines()]
