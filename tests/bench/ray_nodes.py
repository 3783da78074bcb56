"""A Ray cluster of several nodes on this machine, as a process of its own, for tests.

    python tests/bench/ray_nodes.py FOLDER NODES [CPUS]

A head without CPUs, and nodes with CPUS (4) and a GPU that is none, each with a HOME of its own in FOLDER (head, node1,
node2, ...). Says a line of JSON when all are there: the address, and each node's id. Then takes a line each:
`kill NAME` (without notice), `drain NAME` (as before a preemption), `add NAME`, `end`, and says a line when it is done.
All ends with its stdin.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

HEAD = "head"
SOON = {"RAY_health_check_initial_delay_ms": "1000", "RAY_health_check_period_ms": "1000"}
"""A node that is gone is missed in 5 seconds instead of 15."""


def main(folder: Path, count: int, cpus: int) -> None:
    os.environ |= {"RAY_TMPDIR": str(folder), "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    os.environ |= {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"} | SOON
    from ray.cluster_utils import Cluster

    from search.ray_nodes.preemption import drain_command

    def home(name: str) -> dict[str, str]:
        (folder / name).mkdir(exist_ok=True)
        return {"HOME": str(folder / name)}

    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, "env_vars": home(HEAD)}
    )
    nodes = {}

    def add(name: str) -> None:
        nodes[name] = cluster.add_node(num_cpus=cpus, num_gpus=1, env_vars=home(name))

    for number in range(count):
        add(f"node{number + 1}")
    print(json.dumps({"address": cluster.address}), flush=True)
    for line in sys.stdin:
        what, _, name = line.strip().partition(" ")
        if what == "add":
            add(name)
        elif what == "kill":
            cluster.remove_node(nodes.pop(name), allow_graceful=False)
        elif what == "drain":
            subprocess.run(drain_command(cluster.address, nodes[name].node_id), check=True, stdout=subprocess.DEVNULL)
        else:
            break
        print(json.dumps({what: name}), flush=True)
    for name in list(nodes):
        cluster.remove_node(nodes.pop(name), allow_graceful=False)
    cluster.remove_node(cluster.head_node, allow_graceful=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 4)
