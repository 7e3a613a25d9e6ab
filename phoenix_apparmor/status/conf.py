"""What a container's .conf says of its confinement, as values: a report judges no text."""

from typing import NamedTuple

from phoenix_apparmor import ctconf, pveconf


class Conf(NamedTuple):
    """A .conf, as far as a verdict needs it.

    profiles: values of its profile lines, of which the last one is used. dead: whether the dead
    key lxc.aa_profile stands beside or instead of them.
    """

    profiles: tuple[str, ...] = ()
    dead: bool = False
    template: bool = False
    unprivileged: bool = False

    def says(self, profile: str | None) -> bool:
        """Whether it has one profile line with just this value (None: no line)."""
        return not self.dead and self.profiles == (() if profile is None else (profile,))


def of_text(text: bytes) -> Conf:
    """Reads a .conf."""
    profiles = tuple(ctconf.conf_profiles(text))
    lines = text.split(b"\n")
    main = lines[: ctconf.main_section(lines)]
    return Conf(
        profiles,
        len(profiles) < 2 and not ctconf.conf_says(text, next(iter(profiles), None)),
        pveconf.is_template(main),
        pveconf.is_unprivileged(main),
    )
