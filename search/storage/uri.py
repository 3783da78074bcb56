"""Handles the text of URIs of buckets and folders, and defines the error for a storage that cannot be used."""

from chex.errors import InputError


class Unreachable(InputError):
    """A storage that cannot be used: no credentials, no network, not found or not permitted."""

    def __init__(self, what: str, reason: str, remedy: str):
        super().__init__(f"{what}: {reason}; {remedy}")
        self.reason, self.remedy = reason, remedy


def is_uri(text: str) -> bool:
    """Returns whether `text` is a URI (`gs://images/a.zip`); any other text is a path."""
    return "://" in text


def child_uri(uri: str, name: str) -> str:
    """Returns the URI of the file or folder `name` inside `uri`."""
    path, separator, query = uri.partition("?")
    return f"{path.rstrip('/')}/{name}{separator}{query}"


def without_query(uri: str) -> str:
    """Returns `uri` without its options (`?region=...`), which only the client needs."""
    return uri.partition("?")[0]
