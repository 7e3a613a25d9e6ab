"""The mutants that are listed by hand are of today's code."""

import pytest

from tests.bench.mutants import BY_HAND
from tests.unit.fakehost import REPO


@pytest.mark.parametrize(("module", "text"), [(module, text) for module, text, _ in BY_HAND])
def test_what_is_mutated_by_hand_is_there_once(module: str, text: str) -> None:
    assert (REPO / f"phoenix_apparmor/{module}.py").read_text().count(text) == 1
