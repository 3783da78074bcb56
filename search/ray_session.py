"""Ray's settings while this process uses Ray, and those that it had before when it has done with it.

Ray reads its settings from the environment: some at each use, some once when it is imported, which is why it is told to
read them again here. So nothing has to be set before Ray is imported, as it may have been in a notebook.
"""

import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

SETTINGS = {
    "RAY_AIR_NEW_OUTPUT": "0",  # with verbose=0: not a line from Tune
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # the announced behaviour; unset, each start warns of it
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # search/tensorboard.py writes what people read
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",  # a search goes on from its book, not from Tune's snapshots
}
IN_TRIALS = {"TUNE_FUNCTION_THREAD_TIMEOUT_S": "60"}  # a stopped trial leaves its actor fit for the next one
"""Settings that a trial's process reads; on a cluster it has the environment of its node."""
SET_BY_RAY = ("PYTHONBREAKPOINT",)
"""What Ray sets in this process when it starts, and leaves."""
TOKEN_FILE = "~/.ray/auth_token"


def for_own_ray() -> dict[str, str]:
    """Returns the settings of a Ray that this process starts: only this process can talk to it."""
    return SETTINGS | IN_TRIALS | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


def for_member() -> dict[str, str]:
    """Returns the settings of a process that joins a cluster: with the user's token, where there is one.

    Where there is none, the cluster is taken to ask for none.
    """
    file = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", TOKEN_FILE)).expanduser()
    mode = "token" if "RAY_AUTH_TOKEN" in os.environ or file.exists() else "disabled"
    return SETTINGS | IN_TRIALS | {"RAY_AUTH_MODE": mode}


@contextmanager
def ray_settings(values: Mapping[str, str]) -> Iterator[None]:
    """Ray has these settings while the block runs, except for those that the user's environment has already."""
    try:
        own = {name: value for name, value in values.items() if name not in os.environ}
        with environment(own, also=SET_BY_RAY):
            _read_again()
            yield
    finally:
        _read_again()


@contextmanager
def environment(values: Mapping[str, str], also: Sequence[str] = ()) -> Iterator[None]:
    """The environment has these values while the block runs, and those from before when it has ended.

    So have the variables named in `also`, which the block may change.
    """
    before = {name: os.environ.get(name) for name in (*values, *also)}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _read_again() -> None:
    """As Ray does itself where it changes how it authenticates."""
    from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()
