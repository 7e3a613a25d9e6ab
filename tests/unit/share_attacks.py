"""Scenes in which a neighbour exchanges folders at the moments that it would choose.

As share_scenes, which makes and runs them.
"""

# As Proxmox makes an mpN, two of them, before the container has its namespaces; and what LXC mounts
# in the first of them after that. The neighbour has the folder around the first.
EXCHANGES = r"""
from phoenix_apparmor import mountmarks, mountswap
from phoenix_apparmor.mounterrors import Unknown
# (in a namespace where none of these folders has a mount on it)
pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
neighbour = subprocess.Popen(["unshare", "-m", "sh", "-ec", 'cd "$HERE/host"; exec sh -e'], **pipes)

def moves(text):
    neighbour.stdin.write((text + "; echo\n").encode())
    neighbour.stdin.flush()
    assert neighbour.stdout.readline() == b"\n"

assert sh('''mkdir -p "$HERE/host/s/a/x" "$HERE/host/s/b" "$HERE/host/s/cache" "$HERE/host/sec" mp
touch "$HERE/host/sec/old" && mount --bind "$HERE/host/s" mp
mount -t ramfs none mp/cache''')
inside = '''mount --bind "$HERE/host/sec" mp/a/x && mount -o remount,bind,ro mp/a/x
touch ready && exec sleep 100'''
init = subprocess.Popen(["unshare", "-Urm", "sh", "-ec", inside], stdout=subprocess.DEVNULL)
while not os.path.exists("ready"):
    assert init.poll() is None

def below():
    # the read-only one is below the second mpN then
    moves("mv -T s/a s/q; mv -T s/cache s/a; mv -T s/q/x s/a/x")

def back():
    moves("mv -T s/a/x s/q/x; mv -T s/a s/cache; mv -T s/q s/a")

def out():
    moves("mv -T s/a out")

rounds, copies, check = mountswap.Work._round, mountswap.Work._copies, mountmarks.Marks.check_locked
done = []

def exchanging_round(self, through, whole):
    if through and not done:
        done.append(1)
        below()
        try:
            return rounds(self, through, whole)
        finally:
            back()
    return rounds(self, through, whole)

def exchanging_copies(self, *rest):
    if rest[1] and len(done) == 0:
        done.append(1)
        below()
        try:
            return copies(self, *rest)
        finally:
            back()
    return copies(self, *rest)

def away_at_the_end(self, *rest):
    if not os.path.exists(here + "/host/out"):
        out()
    return check(self, *rest)

def inside_at_the_end(self, *rest):
    if not done:
        done.append(1)
        text = "umount -l mp/a/x"
        if how == "late":
            text = "mount --bind $HERE/host/sec mp/b && mount -o remount,bind,ro mp/b"
        user = "-U" if how == "late" else ""
        assert sh(f"nsenter {user} -m -t {init.pid} sh -ec 'cd {here}/ct; {text}'")
        if how == "late":
            moves("mv -T s/b out")
    return check(self, *rest)

if how in ("late", "gone"):
    mountswap.PATIENCE = 0.5
    mountmarks.Marks.check_locked = inside_at_the_end
elif how == "for a moment":
    mountswap.Work._copies = exchanging_copies
else:
    mountswap.PATIENCE = 0.5
    mountswap.Work._round = exchanging_round
    if how != "seen":
        mountmarks.Marks.check_locked = away_at_the_end
if how in ("out", "seen", "nothing looks"):
    mountswap._steady = lambda units: units
if how == "nothing looks":
    mountmarks.Marks.check_locked = lambda *_: out() or Unknown()
print(0, status(pid=init.pid))
print(1, told())
if os.path.exists(here + "/host/out"):
    moves("mv -T out s/b" if how == "late" else "mv -T out s/a")
enter = f"nsenter -U -m -t {init.pid} sh -ec 'cd {os.getcwd()};"
print(2, sh(f"{enter} mount -o remount,bind,rw mp/a/x && touch mp/a/x/new'"))
init.kill()
neighbour.kill()
"""

# What LXC left there (MOUNTS), by these lines (LINES); the share that it is in is the first.
CONFIGURED = r"""
assert sh('''mkdir -p "$HERE/host/w/a" "$HERE/host/w/b" "$HERE/host/sec" "$HERE/host/other" srv own
touch "$HERE/host/sec/old"''')
def bind(source, place, ro=True):
    assert sh(f'mount --bind "$HERE/host/{source}" {place}')
    assert not ro or sh(f"mount -o remount,bind,ro {place}")

def line(source, place, options="bind,ro"):
    path = source if source.startswith("in/") else f"{here}/host/{source}"
    return f"lxc.mount.entry = {path} {os.getcwd()[1:]}/{place} none {options} 0 0\n"

share = line("w", "srv", "bind")
want = line("sec", "srv/a")
maybe = line("sec", "srv/a", "bind,ro,optional")
gone = line("gone", "srv/a", "bind,ro,optional")
quoted = maybe.replace("= ", '= "').replace("\n", '"\n')
hook = "lxc.hook.mount = /srv/hook\n"
for name in ("included", "fstab"):
    with open(here + "/" + name, "w") as file:
        both = [one.partition(" = ")[2] for one in (share, maybe)]
        file.write(maybe if name == "included" else "".join(both))
lines = {
    "as it is": share + want,
    "left writable": share + want,
    "writable by the last word": share + line("sec", "srv/a", "ro,bind,rw"),
    "left writable, optional": share + maybe,
    "missing": share + maybe,
    "no source": share + gone,
    "another": share + want,
    "beside": share + want,
    "beside by a line": share + want + line("sec", "srv/b", "bind"),
    "its own": share + line("in/x", "srv/a", "bind,ro,relative"),
    "hidden": share + want + line("other", "srv", "bind"),
    "on its own root": share + line("sec", "own", "bind,ro,optional"),
    "whole": share + want,
    "quoted": share + quoted,
    "gone": share + gone,
    "taken": share + line("w/nas", "srv/a", "bind,ro,optional"),
    "fallback": line("w", "srv", "rbind") + maybe + gone,
    "below one without a source": line("w", "srv", "rbind") + maybe + line("no", "srv", "bind"),
    "rox": share + line("sec", "srv/a", "bind,rox,optional"),
    "ro=1": share + line("sec", "srv/a", "bind,ro=1"),
    "by a hook": share + want + hook,
    "another by a hook": share + want + hook,
    "another by nobody": share + want,
    "with the host's": line("w", "srv", "rbind") + want,
    "included": share + "lxc.include = " + here + "/included\n",
    "included, as it is": share + "lxc.include = " + here + "/included\n",
    "in an fstab": "lxc.mount.fstab = " + here + "/fstab\n",
    "mpN in it": share + want,
    "another mpN": share + want,
    "unread, whole": share + "lxc.include = " + here + "/more\n",
    "unread": share + "lxc.include = " + here + "/more\n",
    "unread, nothing in it": share + "lxc.include = " + here + "/more\n",
}[how]
if how.startswith("unread"):
    assert sh('touch "$HERE/more" && chmod 666 "$HERE/more"')
beside = ("quoted", "gone", "fallback", "below one without a source", "rox", "by a hook")
if how == "with the host's":
    assert sh('mount -t ramfs none "$HERE/host/w/b"')
if how.startswith(("included", "in an")) or how == "unread, whole":
    assert sh('mount -t ramfs none "$HERE/host/w" && mount -t ramfs none "$HERE/host/sec"')
    assert sh('mkdir "$HERE/host/w/a" "$HERE/host/w/b"')
if how == "whole":
    assert sh('mount -t ramfs none srv && mkdir srv/a && mount -t ramfs none "$HERE/host/sec"')
else:
    bind("w", "srv", ro=False)
if how == "with the host's":
    assert sh('mount --bind "$HERE/host/w/b" srv/b')
if how in beside or how in ("included", "in an fstab", "unread, whole"):
    bind("sec", "srv/b", ro=False)
if how.startswith("another ") or how == "mpN in it":
    bind("other", "srv/b", ro=False)
rw = how.startswith(("left", "writable", "unread", "ro=")) or how in ("whole", "its own")
if how in beside[:-1] or how in ("taken", "included", "in an fstab", "unread, whole"):
    pass
elif how in ("another", "its own"):
    bind("other", "srv/a", ro=how == "another")
elif how == "on its own root":
    bind("sec", "own", ro=False)
elif how not in ("missing", "no source", "unread, nothing in it"):
    bind("sec", "srv/a", ro=not rw)
if how.startswith("beside"):
    bind("sec", "srv/b", ro=False)
if how == "hidden":
    bind("other", "srv", ro=False)
with open(here + "/config", "w") as file:
    file.write(lines)
os.makedirs(here + "/etc/pve/lxc")
with open(here + "/etc/pve/lxc/952.conf", "w") as file:
    source = "sec" if how == "another mpN" else "other"
    point = f"mp0: {here}/host/{source},mp={os.getcwd()}/srv/b\n"
    file.write(point if "mpN" in how else "lxc.include: /more\n" + lines.replace(" = ", ": "))
import time
from phoenix_apparmor import mountswap
# (what no waiting changes is refused at once)
mountswap.PATIENCE = 20 if how in ("missing", "by a hook", "taken") else 0.3
began = time.monotonic()
print(0, status(here + "/config"))
print(1, told())
assert time.monotonic() < began + 15
"""

# More mounts in a share than a process may have files open.
MANY = r"""
import resource
assert sh('''mkdir -p "$HERE/host/w" "$HERE/host/sec" srv && cd "$HERE/host/w"
for i in $(seq 60); do mkdir $i; done''')
assert sh('''mount --bind "$HERE/host/w" srv
for i in $(seq 60); do mount --bind "$HERE/host/sec" srv/$i; done
mount -o remount,bind,ro srv/60''')
resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48))
print(0, status())
print(1, told())
print(2, sh("mount -o remount,bind,rw srv/60"))
"""

# A line that a later one hides, and a read-only one in the later, where the first was.
LATER = r"""
assert sh('''mkdir -p "$HERE/host/x/ro" "$HERE/host/s/a/ro" "$HERE/host/d" srv/a
mount --bind "$HERE/host/x" srv/a && mount --bind "$HERE/host/s" srv
mount --bind "$HERE/host/d" srv/a/ro && mount -o remount,bind,ro srv/a/ro''')
print(0, status())
print(1, told())
print(2, sh("mount -o remount,bind,rw srv/a/ro"))
"""
