"""Where things are on a host. Names only; Host puts them below its root."""

# The first one that exists is used: the cluster's (through pmxcfs), then this host's.
JSON_FILES = (
    "/etc/pve/phoenix_lxc_configs.json",
    "/usr/local/phoenix_hypervisor/etc/phoenix_lxc_configs.json",
)
STATE = "/var/lib/phoenix-apparmor"
COPY = STATE + "/assignments"
# Profiles that are made for one container (policy/variants.py): texts.
VARIANTS = STATE + "/variants"
# What the parser made of profiles (policy/compiled.py).
COMPILED = "/var/cache/phoenix-apparmor"
# Not below /run/lock, where anyone may make a folder.
RUN = "/run/phoenix-apparmor"
# A folder of its own, as systemd watches the one above for CHANGED.
LOCKS = RUN + "/lock"
ASSIGNMENTS_LOCK = LOCKS + "/assignments.lock"
JSON_LOCK = LOCKS + "/json.lock"
LOADING_LOCK = LOCKS + "/loading.lock"

CONF_FOLDER = "/etc/pve/lxc"
LXC_FOLDER = "/var/lib/lxc"
APPARMOR_D = "/etc/apparmor.d"
KERNEL = "/sys/kernel/security/apparmor"
KERNEL_PROFILES = KERNEL + "/profiles"
NAMESPACES = KERNEL + "/policy/namespaces"

# The profiles that the package ships; the first one is the schema's default.
BASE = "lxc-nvidia-gpu-base"
DOCKER = "lxc-nvidia-gpu-docker"
SHIPPED = (BASE, DOCKER)
# The project's profile from before its first package; it does not compile.
DEPRECATED = "lxc-phoenix-nvidia-gpu"

# Assigned names that mean: no profile line. On Proxmox that is its own generated profile.
NO_LINE = ("unconfined", "generated")

# The comment in a profile file that asks for a policy namespace for each of its containers.
NAMESPACE_MARKER = b"# phoenix-apparmor: policy-namespace"

# The one that asks for our seccomp policy for each of its privileged containers.
SECCOMP_MARKER = b"# phoenix-apparmor: privileged-seccomp"
# Beside it: none of them runs containers, which Docker does by programs of bpf(2).
WITHOUT_BPF_MARKER = b"# phoenix-apparmor: without-bpf"
# Conffiles, as they must outlive the package's removal: LXC reads one at each start, and lxc-attach
# (pct enter) again while the container runs (lxc attach.c, fetch_seccomp; seen on 5.0 and 6.0).
SECCOMP_FOLDER = "/etc/phoenix-apparmor"
SECCOMP = SECCOMP_FOLDER + "/privileged.seccomp"
SECCOMP_WITHOUT_BPF = SECCOMP_FOLDER + "/privileged-without-bpf.seccomp"

# Written at each start and stop of a container; systemd watches its folder and has this node's
# report published (hooks/phoenix-apparmor-publish.path, which makes the folder).
CHANGED = "/run/phoenix-apparmor/changed"
PUBLISH_LOCK = LOCKS + "/publish.lock"
NODES = "/etc/pve/nodes"
# pmxcfs makes it up at each read: it is there as long as /etc/pve is mounted.
MEMBERS = "/etc/pve/.members"

HOOKSCRIPT = "/usr/libexec/phoenix-apparmor/hookscript"
SNIPPET = "phoenix-apparmor.py"
PVE_MODULE = "/usr/share/perl5/PVE/LXC.pm"


def conf(ctid: str) -> str:
    """Proxmox's configuration of a container of this node."""
    return f"{CONF_FOLDER}/{ctid}.conf"


def runtime(ctid: str) -> str:
    """LXC's configuration, the only one that lxc-start reads."""
    return f"{LXC_FOLDER}/{ctid}/config"


def begun(ctid: str) -> str:
    """The note that a start of a container went through the unit's step before it."""
    return f"{LOCKS}/{ctid}.begun"


def confined(ctid: str) -> str:
    """The note that this start's init runs under what is assigned; gone before the next start."""
    return f"{LOCKS}/{ctid}.confined"


def was_read(ctid: str) -> str:
    """The note that the running container's lxc-start has read what we added: our hook has run."""
    return f"{LOCKS}/{ctid}.read"


def conf_lock(ctid: str) -> str:
    """Proxmox's lock of a container's configuration (PVE::LXC::Config, lock_config)."""
    return f"/run/lock/lxc/pve-config-{ctid}.lock"


def published(node: str) -> str:
    """A node's report for the others; pmxcfs gives what is below priv to root alone."""
    return f"{NODES}/{node}/priv/phoenix-apparmor.json"


def is_node(name: str) -> bool:
    """Whether a name can be a node's: a host name's first label (RFC 1123), at most 63 bytes."""
    return (
        0 < len(name) <= 63
        and name.isascii()
        and name.replace("-", "").isalnum()
        and name[0] != "-"
    )


def asks_for(profile: bytes, marker: bytes) -> bool:
    """Whether a profile's text has a marker: a line of its own, whatever blanks are around it."""
    return marker in profile and any(line.strip() == marker for line in profile.split(b"\n"))


def own_parts(profile: bytes) -> list[str]:
    """The files of abstractions/phoenix that a profile's text includes."""
    begin, parts = b"<abstractions/phoenix/", []
    for line in profile.split(b"\n"):
        word, _, rest = line.strip().partition(b" ")
        if word in (b"include", b"#include") and begin in rest:
            name = rest.partition(b"<")[2].partition(b">")[0]
            parts.append(APPARMOR_D + "/" + name.decode("utf-8", "surrogateescape"))
    return parts


def seccomp_policy(profile: bytes) -> str:
    """The seccomp policy for privileged containers for which a profile's text asks; "": none."""
    if not asks_for(profile, SECCOMP_MARKER):
        return ""
    return SECCOMP_WITHOUT_BPF if asks_for(profile, WITHOUT_BPF_MARKER) else SECCOMP


def is_shared(source: str) -> bool:
    """Whether a JSON is the whole cluster's; of the other path each node has a file of its own."""
    return source == JSON_FILES[0]


def is_ctid(text: str) -> bool:
    """Whether text can be a CTID on Proxmox: 100 to 999999999 (pve-vmid)."""
    return text.isascii() and text.isdigit() and 3 <= len(text) <= 9 and text[0] != "0"


_ALNUM = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def is_profile(text: str) -> bool:
    """Whether a container can be assigned this: NO_LINE, or a name lxc-start may change to.

    As the schema's pattern. At most 127 characters: AppArmor allows more, no file system does.
    """
    return text in NO_LINE or (
        5 <= len(text) <= 127
        and text.startswith("lxc-")
        and text[4] in _ALNUM
        and not text[4:].strip(_ALNUM + "_.+-")
    )


def is_our_hookscript(volume: str | None) -> bool:
    """Whether the hookscript option of a .conf (STORAGE:snippets/NAME) names ours."""
    return volume is not None and volume.rpartition("/")[2] == SNIPPET
