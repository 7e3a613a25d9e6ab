"""How large the policies are that the kernel gets: no larger than they have been made.

tests/bench/profiles.py tells what they cost, and what makes them large.
"""

import re
import subprocess

import pytest

from tests.names import BASE, DOCKER
from tests.unit.fakehost import REPO
from tests.unit.policydfa import ABI, PARSER

pytestmark = pytest.mark.slow

# Bytes by version of the parser, measured with abi/3.0, and one in a hundred more. (1.0.0 had
# 155,465 and 161,513 with 3.0, 354,977 and 361,185 with 4.1.)
LARGEST = {"3.": {BASE: 80_300, DOCKER: 78_300}, "4.": {BASE: 68_200, DOCKER: 73_900}}


def largest(profile: str) -> int:
    said = subprocess.run([PARSER, "--version"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"version (\d+\.)", said)
    if version is None or version[1] not in LARGEST:
        pytest.skip("measured with apparmor_parser 3.0 and 4.1 only")
    return LARGEST[version[1]][profile]


@pytest.mark.parametrize("profile", [BASE, DOCKER])
def test_a_policy_is_no_larger_than_it_was_made(profile: str) -> None:
    most = largest(profile)
    folders = ("-I", str(REPO / "profiles"), "-I", "/etc/apparmor.d")
    command = [PARSER, "-QTKS", "--config-file=/dev/null", f"--features-file={ABI}", *folders]
    done = subprocess.run(
        [*command, str(REPO / "profiles" / profile)], capture_output=True, check=True
    )
    assert most / 4 < len(done.stdout) <= most
