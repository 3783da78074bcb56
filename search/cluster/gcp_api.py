"""Uses Google Compute Engine's API: checks an instance's settings, lists instances. Needs the extra `cluster`."""

import json
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from typing import Any

from chex.errors import InputError, suggest

TIMEOUT_SECONDS = 10
"""How many seconds the API may take to answer."""
_RAY_KEYS = ("sourceInstanceTemplate", "networkConfig")
"""Keys that Ray removes before it asks the API."""
_PYTHON_TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "object": Mapping,
    "array": list,
}


def client_is_installed() -> bool:
    """Returns whether the extra `cluster` is installed."""
    return find_spec("googleapiclient") is not None


def check_instance(where: str, body: Mapping[str, Any]) -> None:
    """Raises InputError if `body` does not match the API's schema of an Instance; `where` is its dotted path.

    Neither Ray's schema nor `ray up` checks these fields, so a typing error would show only when the head costs money
    already. The schema comes with Google's client; without the client nothing is checked.
    """
    if client_is_installed():
        instance = {key: value for key, value in body.items() if key not in _RAY_KEYS}
        _check(where, instance, {"$ref": "Instance"})


def running_instances(project: str, zone: str, cluster: str, compute: Any = None) -> list[str]:
    """Returns the names of the instances of the Ray cluster `cluster` that are not terminated.

    `compute` is a client of the API, by default one with this machine's credentials. Raises InputError if there are no
    credentials, if no answer comes in time, and if the API refuses.
    """
    from google.auth.exceptions import GoogleAuthError, TransportError
    from googleapiclient.errors import HttpError
    from httplib2 import HttpLib2Error

    place = f"project {project}, zone {zone}"
    filters = f"(labels.ray-cluster-name = {cluster}) AND (status != TERMINATED)"
    try:
        client = compute or _client()
        response = client.instances().list(project=project, zone=zone, filter=filters).execute()
    except HttpError as error:
        raise InputError(
            f"{place}: the compute API refuses ({error.reason}); check provider.project_id, provider.availability_zone "
            "and that the account may use Compute Engine there"
        ) from error
    except (HttpLib2Error, OSError, TransportError) as error:
        raise InputError(f"{place}: the compute API does not answer ({error}); check the network") from error
    except GoogleAuthError as error:
        reason = str(error).split(". ")[0].rstrip(".")
        raise InputError(
            f"{place}: no credentials of Google Cloud ({reason}); log in: gcloud auth application-default login"
        ) from error
    return [item["name"] for item in response.get("items", [])]


def _client() -> Any:
    import google.auth
    from google_auth_httplib2 import AuthorizedHttp
    from googleapiclient import discovery
    from httplib2 import Http

    credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
    http = AuthorizedHttp(credentials, http=Http(timeout=TIMEOUT_SECONDS))
    return discovery.build("compute", "v1", http=http, cache_discovery=False)


@cache
def _schemas() -> dict[str, Any]:
    from googleapiclient.discovery_cache import get_static_doc

    return dict(json.loads(get_static_doc("compute", "v1"))["schemas"])


def _check(where: str, value: object, schema: Mapping[str, Any]) -> None:
    if "$ref" in schema:
        schema = _schemas()[schema["$ref"]] | {"id": schema["$ref"]}
    kind = schema.get("type", "any")
    if kind in _PYTHON_TYPES and not _has_type(value, kind, schema):
        raise InputError(f"{where}: {value!r} is not of type '{kind}', which the compute API needs; correct it")
    if isinstance(value, Mapping):
        _check_fields(where, value, schema)
    if isinstance(value, list):
        for number, item in enumerate(value):
            _check(f"{where}.{number}", item, schema["items"])
    if "enum" in schema and value not in schema["enum"]:
        raise InputError(f"{where}: {value!r} is unknown to the compute API; {suggest(value, schema['enum'])}")


def _has_type(value: object, kind: str, schema: Mapping[str, Any]) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "string" and schema.get("format") in ("int64", "uint64"):
        return isinstance(value, int) or (isinstance(value, str) and value.isdecimal())
    return isinstance(value, _PYTHON_TYPES[kind])


def _check_fields(where: str, value: Mapping[str, Any], schema: Mapping[str, Any]) -> None:
    known, any_field = schema.get("properties", {}), schema.get("additionalProperties")
    for key, field in value.items():
        if key not in known and any_field is None:
            name = schema.get("id", "object")
            raise InputError(f"{where}.{key}: the compute API's {name} has no such field; {_nearest(key, known)}")
        _check(f"{where}.{key}", field, known.get(key, any_field))


def _nearest(key: str, known: Mapping[str, Any]) -> str:
    return suggest(key, sorted(known))
