"""Drains this machine's Ray node when its spot VM is about to be taken away, so that its trials move uncounted.

    python -m search.preemption

on each worker beside `ray start`, until the notice comes: Google gives about 30 seconds. Nothing new starts on the node
from then on; what runs there goes on elsewhere when the machine is gone.
"""

import http.client
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable

from search.ray_session import for_member, ray_settings

METADATA = "http://metadata.google.internal/computeMetadata/v1/instance/preempted"
ASK_SECONDS = 300
"""How long the metadata server holds back its answer while nothing changes."""
PATIENCE = 60.0
"""Seconds without any answer after which this is no VM with such a server."""
NOTICE_SECONDS = 25
"""What is left of Google's 30 when the notice has been read."""


def wait_for_notice(url: str = METADATA, pause: float = 2.0, patience: float = PATIENCE) -> None:
    """Returns when the server at `url` says that this VM is preempted. Raises OSError where it is silent for long."""
    etag, heard = "", time.monotonic()
    while True:
        try:
            preempted, etag = _asked(url, etag)
            heard = time.monotonic()
            if preempted:
                return
        except (OSError, http.client.HTTPException) as error:
            if time.monotonic() - heard > patience + ASK_SECONDS * bool(etag):
                raise OSError(f"{url} does not answer ({error})") from error
            time.sleep(pause)


def drain_command(address: str, node: str) -> list[str]:
    """What tells the Ray cluster at `address` that the `node` (its id, in hex) is about to go."""
    reason = ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot VM taken away"]
    left = ["--deadline-remaining-seconds", str(NOTICE_SECONDS)]
    return [sys.executable, "-m", "ray.scripts.scripts", "drain-node", "--address", address, "--node-id", node] + (
        reason + left
    )


def own_node() -> tuple[str, str]:
    """The address of the cluster that this machine belongs to, and the id of its node."""
    import ray

    ray.init(address="auto", log_to_driver=False, logging_level="ERROR")
    here = ray.get_runtime_context()
    found = here.gcs_address, here.get_node_id()
    ray.shutdown()
    return found


def main(
    url: str = METADATA,
    node: Callable[[], tuple[str, str]] = own_node,
    run: Callable[[list[str]], int] = subprocess.call,
) -> int:
    """Waits for the notice and drains; 0 where the cluster has taken it."""
    try:
        wait_for_notice(url)
    except OSError as error:
        print(f"search.preemption: {error}; run this on a Google Cloud VM", file=sys.stderr)
        return 1
    with ray_settings(for_member()):
        address, own = node()
        print(f"search.preemption: this VM is taken away; draining its Ray node {own}", file=sys.stderr, flush=True)
        return run(drain_command(address, own))


def _asked(url: str, etag: str) -> tuple[bool, str]:
    """Whether this VM is preempted, and the answer's tag; with the tag of an earlier answer waits for another one."""
    query = {"wait_for_change": "true", "timeout_sec": str(ASK_SECONDS), "last_etag": etag} if etag else {}
    asked = urllib.request.Request(f"{url}?{urllib.parse.urlencode(query)}", headers={"Metadata-Flavor": "Google"})
    with urllib.request.urlopen(asked, timeout=ASK_SECONDS + 10) as answer:
        return answer.read().strip().upper() == b"TRUE", answer.headers.get("ETag", "")


if __name__ == "__main__":
    sys.exit(main())
