"""Sets Ray's settings while this process uses Ray, and restores the earlier ones afterwards.

Ray reads its settings from the environment: some at each use, others only when it is imported. The latter are reloaded
here, so Ray may be imported before they are set, for example in a notebook.
"""

import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

SETTINGS = {
    "RAY_AIR_NEW_OUTPUT": "0",  # with verbose=0, so that Tune prints nothing
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # Ray's future default; without it each start prints a warning
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # search/monitor/tensorboard.py writes them
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",  # a search resumes from its study, not from Tune's snapshots
}
TRIAL_SETTINGS = {"TUNE_FUNCTION_THREAD_TIMEOUT_S": "60"}  # so that the actor of a stopped trial can run the next one
"""Settings that a trial's process reads; on a cluster it has its node's environment, so they are sent to it."""
SET_BY_RAY = ("PYTHONBREAKPOINT",)
"""Variables that Ray sets in this process when it starts, and leaves set."""
TOKEN_FILE = "~/.ray/auth_token"


def local_settings() -> dict[str, str]:
    """Returns the settings of a Ray that this process starts: only this process can talk to it."""
    return SETTINGS | TRIAL_SETTINGS | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


def cluster_settings() -> dict[str, str]:
    """Returns the settings of a process that joins a cluster, with the user's token if there is one.

    Without a token the cluster is assumed to ask for none.
    """
    file = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", TOKEN_FILE)).expanduser()
    mode = "token" if "RAY_AUTH_TOKEN" in os.environ or file.exists() else "disabled"
    return SETTINGS | TRIAL_SETTINGS | {"RAY_AUTH_MODE": mode}


@contextmanager
def ray_settings(values: Mapping[str, str]) -> Iterator[None]:
    """Gives Ray these settings while the block runs, except for those that the user's environment already has."""
    try:
        new = {name: value for name, value in values.items() if name not in os.environ}
        with changed_environment(new, also=SET_BY_RAY):
            _reload_settings()
            yield
    finally:
        _reload_settings()


@contextmanager
def changed_environment(values: Mapping[str, str], also: Sequence[str] = ()) -> Iterator[None]:
    """Sets these environment variables while the block runs, and restores the earlier values afterwards.

    Also restores the variables named in `also`, which the block may change.
    """
    previous = {name: os.environ.get(name) for name in (*values, *also)}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in previous.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _reload_settings() -> None:
    """Makes Ray read its settings and its token again, as Ray itself does when it changes how it authenticates."""
    from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()
