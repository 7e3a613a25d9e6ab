"""A message that people see when something does not start or work. Pure."""

from typing import Literal, NamedTuple

Speaker = Literal["", "LXC", "Proxmox", "Docker", "apt", "Linux", "NVIDIA"]


class Message(NamedTuple):
    """A message, or what one sees without any.

    shown: as the table has it, `…` is a name or a number. speaker: who says so, "" for us.
    means: what it is, and how to fix it; CTID is the container, FILE the file that the message
    names. pattern: finds it in a log, and in it the FILE; "" where none would.
    common: whether it is one of those that people meet most. general: says that something failed,
    and not what: it explains nothing beside any other line. of_program: names a program that
    failed, which itself said why in the lines before.
    """

    shown: str
    speaker: Speaker
    means: str
    pattern: str = ""
    common: bool = False
    general: bool = False
    of_program: bool = False
