"""What was tried, in words and as a rule."""

from typing import NamedTuple


class Act(NamedTuple):
    """What a process tried.

    words: continues "tried to". rule: the smallest AppArmor rule that allows it, "" if no
    rule does. note: what to do instead or besides, or why there is no rule; may be empty.
    hole: why the rule would open what should stay closed, "" if it would not.
    reach: what it does to another process, to continue "the container"; "" if nothing.
    needs_4: AppArmor 3.0 (PVE 8) does not know such a rule: there it would break the profile.
    """

    words: str
    rule: str = ""
    note: str = ""
    hole: str = ""
    reach: str = ""
    needs_4: bool = False


def strange(what: str, word: str) -> str:
    """The note where a word is none of the kernel's."""
    from phoenix_apparmor.denials.quoting import readable

    said = f'"{readable(word, 40)}"' if word else "an empty word"
    return f"No rule can be given: {said} is not a known {what}."
