"""What this process has of Ray's settings, and that it has them for a session only."""

import os
from pathlib import Path

import pytest
from ray._raylet import AuthenticationTokenLoader, get_authentication_mode

from search.ray_session import for_member, for_own_ray, ray_settings
from tests.test_imports import ran

pytestmark = pytest.mark.ray


@pytest.mark.parametrize(
    ("own", "token", "mode"), [(False, False, "disabled"), (False, True, "token"), (True, False, "token")]
)
def test_in_a_cluster_the_users_token_counts_and_without_one_none_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: bool, token: bool, mode: str
) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    if own:
        monkeypatch.setenv("RAY_AUTH_TOKEN", "theirs")
    if token:
        (tmp_path / "token").touch()
    assert for_member()["RAY_AUTH_MODE"] == mode
    assert "RAY_AUTH_TOKEN" not in for_member()


def test_ray_that_is_imported_already_takes_the_settings_and_gives_them_back(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in for_own_ray():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    with ray_settings({}):
        before, mode = dict(os.environ), get_authentication_mode()
    with ray_settings(for_own_ray()):
        assert get_authentication_mode() != mode
        assert AuthenticationTokenLoader.instance().get_raw_token() == os.environ["RAY_AUTH_TOKEN"]
        assert len(os.environ["RAY_AUTH_TOKEN"]) == 64
        assert os.environ["RAY_USAGE_STATS_ENABLED"] == "1"
    assert dict(os.environ) == before
    assert get_authentication_mode() == mode


NOTEBOOK = """
import os
import ray
before = dict(os.environ)
from search.nodes import started
with started():
    assert ray.get(ray.remote(lambda: os.environ["TUNE_FUNCTION_THREAD_TIMEOUT_S"]).remote()) == "60"
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64
assert dict(os.environ) == before, set(os.environ.items()) ^ set(before.items())
"""


def test_a_notebook_that_has_imported_ray_can_start_a_search_and_keeps_no_token_of_it(tmp_path: Path) -> None:
    ran(NOTEBOOK, tmp_path)
