"""A search that loses nothing: killed at random moments, it ends as one that was not."""

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.ray


def test_a_search_killed_at_random_moments_ends_as_one_left_in_peace() -> None:
    command = [sys.executable, "tests/bench/kill_search.py", "2", "1"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=600, check=False, env=os.environ | {"PYTHONPATH": "."}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["kills"], told["lost"], told["repeated"]) == (2, 0, 0)
    assert told["equal"], done.stdout
