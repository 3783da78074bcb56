"""Many runs: a space of RunConfigs searched with Ray Tune for the best validation AUROC."""

import os
import secrets
from pathlib import Path

# Ray reads these when it is imported, so they are set here, before any module of this package can import it.
RAY_SETTINGS = {
    "RAY_AIR_NEW_OUTPUT": "0",  # with verbose=0: not a line from Tune
    "RAY_AUTH_MODE": "token",  # the default, which prints advice unless it is said aloud
    "RAY_AUTH_TOKEN": secrets.token_hex(32),  # so that only this process's Ray answers this process
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # the announced behaviour; unset, each start warns of it
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # search/tensorboard.py writes what people read
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",  # a search goes on from its book, not from Tune's snapshots
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "60",  # a stopped trial leaves its actor fit for the next one
}
for _name, _value in RAY_SETTINGS.items():
    os.environ.setdefault(_name, _value)


def as_member() -> None:
    """Lets this process into a cluster that is there, by the user's token in place of the one for its own Ray.

    Where the user has none, the cluster is taken to ask for none. To be called before Ray is imported.
    """
    if os.environ.get("RAY_AUTH_TOKEN") != RAY_SETTINGS["RAY_AUTH_TOKEN"]:
        return
    del os.environ["RAY_AUTH_TOKEN"]
    if not Path(os.environ.get("RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token")).expanduser().exists():
        os.environ["RAY_AUTH_MODE"] = "disabled"
