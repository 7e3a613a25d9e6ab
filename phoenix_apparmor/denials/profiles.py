"""The profiles of one host as their files say: what they deny, and which local file they read."""

import functools
from collections.abc import Iterator
from typing import NamedTuple

from phoenix_apparmor import kernel, paths
from phoenix_apparmor.denials import allowed, denying
from phoenix_apparmor.denials.message import Denial
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host
from phoenix_apparmor.policy import compiled, files, load, policytext
from phoenix_apparmor.policy.policytext import Rule, Text
from phoenix_apparmor.policy.tunables import Variables

ABSTRACTIONS = paths.APPARMOR_D + "/abstractions/phoenix"
DOCKER = ABSTRACTIONS + "/docker"
# LXC's own profiles are in a folder that /etc/apparmor.d/lxc-containers includes.
FOLDERS = (paths.APPARMOR_D, paths.APPARMOR_D + "/lxc")
# "normal" leaves explicit denies out of the log (kernel, security/apparmor/lsm.c).
AUDIT_PARAMETER = "/sys/module/apparmor/parameters/audit"
LOGS_ALL = ("noquiet", "all")
DPKG = "/var/lib/dpkg/info"
# The profiles that a command is about: denials, doctor and status each ask for them.
_READ_PROFILES = 16


class Profile(NamedTuple):
    """A profile's file, the local file that it reads ("": none), its deny rules, all its rules.

    supports_docker: whether it has our rules for Docker and podman.
    """

    path: str
    local: str
    denies: tuple[Rule, ...]
    supports_docker: bool
    rules: allowed.Rules
    variables: Variables
    flags: frozenset[str] = frozenset()


@functools.lru_cache(_READ_PROFILES)
def _made_of(
    name: str, text: str, inner: str, texts: tuple[Text, ...], before: tuple[Text, ...], is_4: bool
) -> Profile:
    """Of a file's text. inner, texts: the profile's own part, and with all that it includes.

    before: the whole file with all that it includes, for variables.
    """
    known = policytext.variables(before)
    known["profile_name"] = (name,)
    return Profile(
        texts[0].path,
        policytext.local_file(inner) or "",
        tuple(policytext.deny_rules(texts, known, is_4=is_4)),
        any(piece.path == DOCKER for piece in texts),
        allowed.read(name, texts, known, is_4=is_4),
        known,
        policytext.flags(text, name),
    )


class Profiles:
    """Profiles of one host; each is read once."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._known: dict[str, Profile | None] = {}
        self._loaded: dict[str, bool | None] = {}
        self._ours: list[Rule] | None = None
        self._of_base: list[Rule] | None = None
        # It is in AppArmor 4's package and not in 3.0's.
        self.is_4 = host.exists(f"{paths.APPARMOR_D}/abi/4.0")

    def get(self, name: str, generated: str = "") -> Profile | None:
        """The profile of that name, None if no file has it.

        generated: the folder of containers where LXC keeps the profile that it made.
        """
        if name not in self._known:
            self._known[name] = self._read_profile(name, generated)
        return self._known[name]

    def _read_profile(self, name: str, generated: str) -> Profile | None:
        outer = name.partition("//")[0]
        for path in self._candidates(outer, generated):
            text = self._read(path)
            inner = policytext.body(text, name) if text is not None and outer in text else None
            if text is None or inner is None:
                continue
            texts = tuple(policytext.expand(inner, path, self._read))
            before = tuple(policytext.expand(text, path, self._read))
            return _made_of(name, text, inner, texts, before, self.is_4)
        return None

    def _candidates(self, name: str, generated: str) -> Iterator[str]:
        if generated:
            # lxc (lsm/apparmor.c): LXCPATH/NAME/apparmor/PROFILE, where / is written -
            own = name.partition("_<")[0].removeprefix("lxc-")
            folder = f"{generated}/{own}/apparmor"
            if "/" not in own and ".." not in generated.split("/"):
                yield f"{folder}/{name.replace('/', '-')}"
            return
        dotted = name.removeprefix("/").replace("/", ".")
        if dotted not in ("", ".", ".."):
            yield f"{paths.APPARMOR_D}/{dotted}"
        for folder in FOLDERS:
            yield from files.policy_files(self._host, folder)

    def variables(self, name: str, generated: str = "") -> Variables:
        """The variables of a profile, and its name as one."""
        profile = self.get(name, generated) if name else None
        return profile.variables if profile is not None else {}

    def explicit(
        self, name: str, denial: Denial, generated: str = "", child: str = ""
    ) -> Rule | None:
        """The rule with which the profile itself, or a child of it, denies this explicitly."""
        profile = self.get(f"{name}//{child}" if child else name, generated)
        return denying.first(profile.denies, denial) if profile else None

    def denying_all(self, name: str, rule: str, generated: str = "") -> Rule | None:
        """The rule with which the profile denies all that a rule allows: deny mount,"""
        profile = self.get(name, generated) if name else None
        denies = profile.denies if profile is not None else ()
        return next((own for own in denies if denying.denies_all_of(own.text, rule)), None)

    def by_ours(self, denial: Denial, *, base: bool = False) -> Rule | None:
        """The rule with which our profiles deny this.

        base: also those that only the profile without policy namespaces has.
        """
        if self._ours is None:
            names = [f"{ABSTRACTIONS}/{name}" for name in self._host.names(ABSTRACTIONS)]
            self._ours = self._denies(names)
        if base and self._of_base is None:
            self._of_base = self._denies([f"{paths.APPARMOR_D}/{paths.BASE}"])
        more = (self._of_base or []) if base else []
        return denying.first([*self._ours, *more], denial)

    def _denies(self, files: list[str]) -> list[Rule]:
        """Deny rules of these files, without those of what they include."""
        found: list[Rule] = []
        for path in files:
            text = self._read(path)
            if text is not None:
                found += policytext.deny_rules(policytext.expand(text, path, lambda _: None))
        return found

    def silent(self) -> dict[str, int]:
        """Profile -> number of its deny rules that leave no message, of our profiles."""
        counts = {}
        for file in files.ours(self._host):
            profile = self.get(file.name)
            denies = profile.denies if profile else ()
            counts[file.name] = sum(not rule.audited for rule in denies)
        return {name: count for name, count in counts.items() if count}

    def logs_all(self) -> bool | None:
        """Whether the kernel logs explicit denies as well; None: unknown."""
        text = self._read(AUDIT_PARAMETER)
        return None if text is None else text.strip() in LOGS_ALL

    def kernel_has(self, name: str) -> bool | None:
        """Whether the kernel runs what the profile's file says now; None: unknown."""
        if name not in self._loaded:
            self._loaded[name] = self._ask_kernel(name)
        return self._loaded[name]

    def _ask_kernel(self, name: str) -> bool | None:
        try:
            file = files.find(self._host, name)
            if file is None or files.switched_off(self._host, file) is not None:
                return None
            if kernel.policy_hash(self._host, name) is None:
                return None
            return load.is_loaded(self._host, name, compiled.policy_of(self._host, file))
        except (PhoenixError, OSError):
            return None

    def of_a_package(self, path: str) -> bool:
        """Whether a file is some package's: an edit of it is asked about at each upgrade."""
        wanted = path.encode()
        names = (name for name in self._host.names(DPKG) if name.endswith(".conffiles"))
        texts = (self._host.read_if_there(f"{DPKG}/{name}") or b"" for name in names)
        return any(wanted in text.split() for text in texts)

    def _read(self, path: str) -> str | None:
        """A file's text, of a folder the includes of its files; None if it cannot be read."""
        try:
            return compiled.included(self._host, path, 1 << 20)
        except (PhoenixError, ValueError):
            return None
