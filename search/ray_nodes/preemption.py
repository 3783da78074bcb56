"""Drains this machine's Ray node when its spot VM is preempted, so that its trials move without counting as crashes.

    python -m search.ray_nodes.preemption

runs on each worker beside `ray start` until the notice comes, about 30 seconds before Google stops the VM. From then on
nothing new starts on the node; its trials continue elsewhere when the machine is gone.
"""

import http.client
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable

from search.ray_nodes.ray_session import cluster_settings, ray_settings

METADATA = "http://metadata.google.internal/computeMetadata/v1/instance/preempted"
WAIT_SECONDS = 300
"""How many seconds the metadata server delays its answer while nothing changes."""
MAX_SILENCE = 60.0
"""Seconds without any answer after which this machine counts as one without a metadata server."""
DRAIN_SECONDS = 25
"""How many of Google's 30 seconds are left when the notice has been read."""


def wait_for_notice(url: str = METADATA, retry_seconds: float = 2.0, max_silence: float = MAX_SILENCE) -> None:
    """Returns when the server at `url` says that this VM is preempted. Raises OSError if the server stays silent."""
    etag, last_answer = "", time.monotonic()
    while True:
        try:
            preempted, etag = _ask(url, etag)
            last_answer = time.monotonic()
            if preempted:
                return
        except (OSError, http.client.HTTPException) as error:
            if time.monotonic() - last_answer > max_silence + WAIT_SECONDS * bool(etag):
                raise OSError(f"{url} does not answer ({error})") from error
            time.sleep(retry_seconds)


def drain_command(address: str, node: str) -> list[str]:
    """Returns the command that tells the Ray cluster at `address` that the `node` (its id, in hex) will stop."""
    reason = ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot VM preempted"]
    deadline = ["--deadline-remaining-seconds", str(DRAIN_SECONDS)]
    return [sys.executable, "-m", "ray.scripts.scripts", "drain-node", "--address", address, "--node-id", node] + (
        reason + deadline
    )


def this_node() -> tuple[str, str]:
    """Returns the address of the cluster that this machine belongs to, and the id of its node."""
    import ray

    ray.init(address="auto", log_to_driver=False, logging_level="ERROR")
    context = ray.get_runtime_context()
    node = context.gcs_address, context.get_node_id()
    ray.shutdown()
    return node


def main(
    url: str = METADATA,
    node: Callable[[], tuple[str, str]] = this_node,
    run: Callable[[list[str]], int] = subprocess.call,
) -> int:
    """Waits for the notice and drains the node; returns 0 if the cluster accepted, else another exit code."""
    try:
        wait_for_notice(url)
    except OSError as error:
        print(f"search.ray_nodes.preemption: {error}; run this on a Google Cloud VM", file=sys.stderr)
        return 1
    with ray_settings(cluster_settings()):
        address, node_id = node()
        print(
            f"search.ray_nodes.preemption: this VM is preempted; draining its Ray node {node_id}",
            file=sys.stderr,
            flush=True,
        )
        return run(drain_command(address, node_id))


def _ask(url: str, etag: str) -> tuple[bool, str]:
    """Returns whether this VM is preempted, and the answer's tag; with the last answer's tag, waits for a change."""
    query = {"wait_for_change": "true", "timeout_sec": str(WAIT_SECONDS), "last_etag": etag} if etag else {}
    request = urllib.request.Request(f"{url}?{urllib.parse.urlencode(query)}", headers={"Metadata-Flavor": "Google"})
    with urllib.request.urlopen(request, timeout=WAIT_SECONDS + 10) as answer:
        return answer.read().strip().upper() == b"TRUE", answer.headers.get("ETag", "")


if __name__ == "__main__":
    sys.exit(main())
