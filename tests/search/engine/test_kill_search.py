"""A search that loses nothing: killed at random moments, it ends as one that was not."""

import json
import os
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def test_a_search_killed_at_random_moments_ends_as_an_uninterrupted_one() -> None:
    command = [sys.executable, "tests/bench/kill_search.py", "2", "1"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=600, check=False, env=os.environ | {"PYTHONPATH": "."}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    message = json.loads(done.stdout.splitlines()[-1])
    assert (message["kills"], message["lost"], message["repeated"]) == (2, 0, 0)
    assert message["equal"], done.stdout
