"""What a container's .conf says of its confinement, as values: a report judges no text."""

from typing import NamedTuple

from phoenix_apparmor import containers, ctconf, pveconf


class Conf(NamedTuple):
    """A .conf, as far as a verdict needs it.

    profiles: values of its profile lines, of which the last one is used. dead: whether the dead
    key lxc.aa_profile stands beside or instead of them. unprivileged: None where a file that it
    brings in was not read.
    """

    profiles: tuple[str, ...] = ()
    dead: bool = False
    template: bool = False
    unprivileged: bool | None = False

    def says(self, profile: str | None) -> bool:
        """Whether it has one profile line with just this value (None: no line)."""
        return not self.dead and self.profiles == (() if profile is None else (profile,))


def of_conf(conf: containers.Conf) -> Conf:
    """Reads a .conf."""
    profiles = tuple(ctconf.conf_profiles(conf.text))
    return Conf(
        profiles,
        len(profiles) < 2 and not ctconf.conf_says(conf.text, next(iter(profiles), None)),
        pveconf.is_template(conf.main),
        conf.is_unprivileged if conf.is_whole else None,
    )
