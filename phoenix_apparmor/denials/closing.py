"""What the profiles close on purpose: their deny rules, as they are on this host."""

from collections.abc import Iterator

from phoenix_apparmor import paths
from phoenix_apparmor.denials import aare, mounts
from phoenix_apparmor.denials.aare import Deny
from phoenix_apparmor.denials.message import Denial
from phoenix_apparmor.host import Host
from phoenix_apparmor.policy import files

ABSTRACTIONS = paths.APPARMOR_D + "/abstractions/phoenix"
# "normal" leaves explicit denies out of the log (kernel, security/apparmor/lsm.c).
AUDIT_PARAMETER = "/sys/module/apparmor/parameters/audit"
LOGS_ALL = ("noquiet", "all")


class Closed:
    """Deny rules of one host's profiles; each profile is read once."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._rules: dict[str, list[Deny]] = {}

    def by(self, profile: str, denial: Denial) -> Deny | None:
        """The rule with which the profile itself denies this explicitly."""
        return _first(self.rules_of(profile), denial)

    def by_ours(self, denial: Denial) -> Deny | None:
        """The rule with which our profiles deny this."""
        if "" not in self._rules:
            files = self._host.names(ABSTRACTIONS)
            self._rules[""] = aare.deny_rules(
                (path, text)
                for path in (f"{ABSTRACTIONS}/{name}" for name in files)
                if (text := self._read(path)) is not None
            )
        return _first(self._rules[""], denial)

    def rules_of(self, profile: str) -> list[Deny]:
        """All deny rules of a profile and what it includes."""
        if profile not in self._rules:
            file = files.find(self._host, profile) if profile.startswith("lxc-") else None
            self._rules[profile] = (
                aare.deny_rules(aare.expand(_text(file.text), file.path, self._read))
                if file is not None
                else []
            )
        return self._rules[profile]

    def silent(self) -> Iterator[tuple[str, int]]:
        """(profile, number of its deny rules that leave no message) of our profiles."""
        for file in files.ours(self._host):
            count = sum(not rule.audited for rule in self.rules_of(file.name))
            if count:
                yield file.name, count

    def logs_all(self) -> bool | None:
        """Whether the kernel logs explicit denies as well; None: unknown."""
        try:
            value = self._host.read_if_there(AUDIT_PARAMETER)
        except OSError:
            return None
        return None if value is None else _text(value).strip() in LOGS_ALL

    def includes_local(self, profile: str) -> bool | None:
        """Whether the profile reads local/NAME; None: its file was not found."""
        file = files.find(self._host, profile) if profile.startswith("lxc-") else None
        if file is None:
            return None
        name = file.path.rpartition("/")[2]
        return f"<local/{name}>".encode() in file.text

    def _read(self, path: str) -> str | None:
        try:
            return _text(self._host.read(path, 1 << 20))
        except OSError:
            return None


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _first(rules: list[Deny], denial: Denial) -> Deny | None:
    if denial.operation == "mount":
        mount = mounts.read(denial)
        wanted = (mount.flags, mount.source, mount.target)
        return next(
            (r for r in rules if aare.denies_mount(r, mount.fstype, *wanted)),
            None,
        )
    name, mask = denial.get("name"), denial.get("denied_mask")
    if not name.startswith("/") or not mask or denial.get("family"):
        return None
    return next((rule for rule in rules if aare.denies_file(rule, name, mask)), None)
