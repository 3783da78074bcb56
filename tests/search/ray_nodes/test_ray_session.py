"""What this process has of Ray's settings, and that it has them for a session only."""

import os
import sys
from pathlib import Path

import pytest
from ray._raylet import AuthenticationTokenLoader, get_authentication_mode

from chex.errors import InputError
from search.command import EXIT_BAD_INPUT, main
from search.ray_nodes.dashboard import check_dashboard
from search.ray_nodes.ray_session import cluster_settings, local_settings, ray_settings
from tests.test_imports import ran

pytestmark = pytest.mark.ray


@pytest.mark.parametrize(
    ("own", "token", "mode"), [(False, False, "disabled"), (False, True, "token"), (True, False, "token")]
)
def test_a_cluster_uses_the_users_token_and_without_one_no_authentication(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: bool, token: bool, mode: str
) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    if own:
        monkeypatch.setenv("RAY_AUTH_TOKEN", "theirs")
    if token:
        (tmp_path / "token").touch()
    assert cluster_settings()["RAY_AUTH_MODE"] == mode
    assert "RAY_AUTH_TOKEN" not in cluster_settings()


def test_an_imported_ray_takes_the_settings_and_restores_the_old_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in local_settings():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    with ray_settings({}):
        before, mode = dict(os.environ), get_authentication_mode()
    with ray_settings(local_settings()):
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
from search.ray_nodes.nodes import local_ray
with local_ray():
    assert ray.get(ray.remote(lambda: os.environ["TUNE_FUNCTION_THREAD_TIMEOUT_S"]).remote()) == "60"
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64
assert dict(os.environ) == before, set(os.environ.items()) ^ set(before.items())
"""


@pytest.mark.slow
def test_a_notebook_that_has_imported_ray_can_start_a_search_and_keeps_no_token(tmp_path: Path) -> None:
    ran(NOTEBOOK, tmp_path)


DASHBOARD = """
import io
import os
from contextlib import redirect_stderr
from urllib.request import Request, urlopen
from search.ray_nodes.nodes import local_ray
with redirect_stderr(io.StringIO()) as shown, local_ray(dashboard=True):
    line = shown.getvalue().removeprefix("Ray's dashboard: ").rstrip(")\\n")
    address, token = line.split(" (paste this token there: ")
    assert token == os.environ["RAY_AUTH_TOKEN"]
    allowed = Request(f"{address}/api/version", headers={"Authorization": f"Bearer {token}"})
    assert urlopen(allowed, timeout=60).status == 200
"""


@pytest.mark.slow
def test_the_dashboard_answers_where_it_says_and_with_its_token(tmp_path: Path) -> None:
    ran(DASHBOARD, tmp_path)


def test_a_dashboard_that_is_not_installed_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray.dashboard.optional_deps", None)
    with pytest.raises(
        InputError,
        match=r"^--dashboard: Ray's dashboard is not installed \(.*\); install the extra: "
        r"pip install 'chexpert-search\[cluster\]'$",
    ):
        check_dashboard()


@pytest.mark.parametrize("command", [["run", "any.yaml"], ["resume", "any"], ["extend", "any"], ["confirm", "any"]])
def test_a_cluster_has_its_own_dashboard(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--cluster", "head:6379", "--dashboard"]) == EXIT_BAD_INPUT
    assert capsys.readouterr().err == (
        f"chex-search {command[0]}: --dashboard: the cluster head:6379 has a dashboard of its own on its head; leave "
        "--dashboard out\n"
    )
