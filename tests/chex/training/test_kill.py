"""A run that cannot be lost: killed at random moments, it ends as one that was not."""

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow


def test_a_run_killed_at_random_moments_ends_bit_for_bit_as_one_left_in_peace() -> None:
    command = [sys.executable, "tests/bench/kill_run.py", "5", "1"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=600, check=False, env=os.environ | {"PYTHONPATH": "."}
    )
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["equal"], done.stdout
    assert told["kills"] >= 5
    assert done.returncode == 0
