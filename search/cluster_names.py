"""Which names of clusters are taken."""

import json
from pathlib import Path

from search.cluster_config import Cluster
from search.compute_api import running


def in_use(cluster: Cluster) -> list[str]:
    """The machines that run under the cluster's name now; empty: the name is free.

    The provider is asked, and for machines of one's own the file in which Ray notes on this machine what it started.
    Raises InputError where the provider gives no answer (see compute_api.running).
    """
    if cluster.provider["type"] == "gcp":
        return running(cluster.provider["project_id"], cluster.provider["availability_zone"], cluster.name)
    return noted(cluster.name)


def noted(name: str) -> list[str]:
    """Addresses of the machines that Ray has noted on this machine as running for the cluster `name`."""
    from ray.autoscaler._private.local.config import get_state_path

    path = Path(get_state_path(name))
    if not path.exists():
        return []
    nodes = json.loads(path.read_text(encoding="utf-8"))
    return [address for address, node in nodes.items() if node.get("state") == "running"]
