"""A host on which only one container is to be seen: what doctor CTID gives its checks."""

from phoenix_apparmor import paths
from phoenix_apparmor.host import Host


class OneContainer(Host):
    """The host of another, of whose containers only CTID is there.

    So that the text, the containers and the fix of a finding speak of no other one: a fix that
    was cut afterwards would no longer be the one that was tried.
    """

    __slots__ = ("ctid",)

    def __init__(self, host: Host, ctid: str) -> None:
        super().__init__(host.root)
        self.ctid = ctid

    def names(self, folder: str) -> list[str]:
        """As Host.names, without the other containers of this node."""
        found = super().names(folder)
        if folder not in (paths.CONF_FOLDER, paths.LXC_FOLDER):
            return found
        return [n for n in found if n.removesuffix(".conf") == self.ctid]


def only(host: Host) -> str:
    """The CTID that is looked at, "" where it is all of them."""
    return host.ctid if isinstance(host, OneContainer) else ""
