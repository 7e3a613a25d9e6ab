"""Names of profiles that were made for one container, as the kernel's log has them."""

import pytest

from phoenix_apparmor import paths, trial
from phoenix_apparmor.denials.message import Denial
from phoenix_apparmor.host import Host
from tests.names import BASE, DOCKER
from tests.unit.fakehost import FakeHost

STACKED = f"{DOCKER}//&:lxc-952_<-var-lib-lxc>:"
MADE = trial.Made


@pytest.mark.parametrize(
    ("name", "made"),
    [
        (f"{DOCKER}.952", MADE(DOCKER, "952")),
        (f"{DOCKER}.952.trial", MADE(DOCKER, "952", trial=True)),
        (f"{DOCKER}.guard", MADE(DOCKER, "", guard=True)),
        (f"{DOCKER}.guard.952", MADE(DOCKER, "952", guard=True)),
        ("lxc-a.b.952", MADE("lxc-a.b", "952")),
        (DOCKER, None),
        (f"{DOCKER}.952.trial.began", None),
        (f"{DOCKER}.99", None),
        (f"{DOCKER}.0952", None),
        (f"{DOCKER}.952/x", None),
        ("other.952", None),
    ],
)
def test_what_a_name_says(name: str, made: trial.Made | None) -> None:
    assert trial.made_of(name) == made
    of_trial = made is not None and made.trial
    assert trial.container_of(name) == ((DOCKER, "952") if of_trial else None)
    assert trial.container_of(f"{name}//child") == trial.container_of(name)


class Counting(Host):
    """Counts how often it is looked whether something is there."""

    __slots__ = ("looks",)

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.looks = 0

    def exists(self, name: str) -> bool:
        self.looks += 1
        return super().exists(name)


@pytest.fixture
def real(host: FakeHost) -> Counting:
    host.confined("952", DOCKER, BASE)
    return Counting(str(host.root))


def shown(variants: trial.Variants, profile: str, **more: str) -> str:
    denial = Denial(1.0, 2, {"profile": profile, **more}, sender="x")
    result = variants.as_assigned(denial)
    assert (result.time, result.serial) == (1.0, 2)
    assert {**result.fields, "profile": profile} == denial.fields
    return result.get("profile")


def test_a_denial_is_the_assigned_profiles(real: Counting) -> None:
    variants = trial.Variants(real)
    assert shown(variants, f"{DOCKER}.952", name="/x") == STACKED
    assert shown(variants, f"{DOCKER}.952.trial") == STACKED
    assert shown(variants, f"{DOCKER}.952//child") == STACKED.replace("//&", "//child//&")


def test_a_guard_keeps_its_name(real: Counting) -> None:
    variants = trial.Variants(real)
    guard = f"{DOCKER}.guard.952"
    assert shown(variants, guard) == STACKED.replace(DOCKER, guard, 1)
    # One that several share says of no container.
    assert shown(variants, f"{DOCKER}.guard") == f"{DOCKER}.guard"


def test_other_profiles_are_what_they_are(host: FakeHost, real: Counting) -> None:
    variants = trial.Variants(real)
    assert shown(variants, DOCKER) == DOCKER
    # In a container's policy namespace root calls them so.
    assert shown(variants, f"{DOCKER}.952", namespace="root//x") == f"{DOCKER}.952"
    # A site has one of that name, and we have made none.
    host.profile(f"{BASE}.953")
    assert shown(variants, f"{BASE}.953") == f"{BASE}.953"
    host.write(f"{paths.VARIANTS}/{BASE}.954", "")
    host.profile(f"{BASE}.954")
    assert shown(variants, f"{BASE}.954") == STACKED.replace(DOCKER, BASE).replace("952", "954")


def test_a_name_is_looked_up_once(real: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    """And of those that a container makes up, so many are kept at most."""
    monkeypatch.setattr(trial, "MOST_NAMES", 3)
    variants = trial.Variants(real)
    for number in (*range(100, 103), *range(100, 103)):
        shown(variants, f"{DOCKER}.{number}")
    assert real.looks == 3
    shown(variants, f"{DOCKER}.103")
    shown(variants, f"{DOCKER}.103")
    assert real.looks == 4
    shown(variants, f"{DOCKER}.100")
    assert real.looks == 5, "all were forgotten when there was one too many"
