"""Finds the running machines of a cluster by the cluster's name."""

import json
from pathlib import Path

from search.cluster.cluster_config import Cluster
from search.cluster.gcp_api import running_instances


def running_machines(cluster: Cluster) -> list[str]:
    """Returns the machines that run under the cluster's name; empty if the name is free.

    Asks the provider; for the user's own machines, reads the file in which Ray on this machine records what it
    started. Raises InputError if the provider gives no answer (see gcp_api.running_instances).
    """
    if cluster.provider["type"] == "gcp":
        return running_instances(cluster.provider["project_id"], cluster.provider["availability_zone"], cluster.name)
    return local_machines(cluster.name)


def local_machines(name: str) -> list[str]:
    """Returns the machines that Ray has recorded here as running for the cluster `name`."""
    from ray.autoscaler._private.local.config import get_state_path

    path = Path(get_state_path(name))
    if not path.exists():
        return []
    nodes = json.loads(path.read_text(encoding="utf-8"))
    return [address for address, node in nodes.items() if node.get("state") == "running"]
