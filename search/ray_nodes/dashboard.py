"""Ray's dashboard of a search on this machine."""

from chex.errors import InputError


def check_dashboard() -> None:
    """Raises InputError if Ray's dashboard is not installed."""
    try:
        import ray.dashboard.optional_deps  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"--dashboard: Ray's dashboard is not installed ({error}); install the extra: "
            "pip install 'chexpert-search[cluster]'"
        ) from None


def where_to_look(address: str, token: str) -> str:
    """Returns what the user reads of a dashboard at "host:port"; its page asks for the token."""
    return f"Ray's dashboard: http://{address} (paste this token there: {token})"
