"""The cluster YAML that we ship, whole and damaged: Ray's schema, the compute API's, and our own rules."""

import subprocess
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from chex.errors import InputError
from search.cluster.cluster_config import NodeType, load_cluster, read_running_cluster
from tests.conftest import GCP, LOCAL, Content, WriteCluster, filled, with_variants

RAY = version("ray")


def refused(path: Path) -> str:
    with pytest.raises(InputError) as error:
        load_cluster(path)
    return str(error.value).replace(f"{path}: ", "")


def machine(content: Content) -> Content:
    config: Content = content["available_node_types"]["t4"]["node_config"]
    return config


def test_the_shipped_gcp_cluster_is_valid_with_a_project(write_cluster: WriteCluster) -> None:
    cluster = load_cluster(write_cluster(filled(GCP)))
    assert cluster.workers == (NodeType("t4", 8, 1, 4),)
    assert (cluster.name, cluster.head, cluster.max_workers, cluster.billed) == ("chexpert", "head", 4, True)


def test_its_commented_node_types_are_valid(write_cluster: WriteCluster) -> None:
    cluster = load_cluster(write_cluster(with_variants(filled(GCP))))
    assert cluster.workers == (NodeType("t4", 8, 1, 4), NodeType("l4", 8, 1, 4), NodeType("a100", 12, 1, 4))


def test_the_shipped_local_cluster_is_valid_with_addresses(write_cluster: WriteCluster) -> None:
    cluster = load_cluster(write_cluster(filled(LOCAL)))
    assert (cluster.workers, cluster.billed, cluster.metadata.cache_dir) == ((), False, "/tmp/chexpert-cache")


@pytest.mark.parametrize("path", [GCP, LOCAL])
def test_both_mount_the_project_and_its_installation_files(path: Path) -> None:
    mounts = set(yaml.safe_load(path.read_text())["file_mounts"].values())
    assert {"chex", "search", "configs", "pyproject.toml", "requirements.lock", "Makefile", "README.md"} < mounts


def test_every_worker_has_the_account_and_the_head_listens_only_locally(write_cluster: WriteCluster) -> None:
    content = yaml.safe_load(with_variants(filled(GCP)))
    for name in ("t4", "l4", "a100"):
        account = content["available_node_types"][name]["node_config"]["serviceAccounts"][0]
        assert account["scopes"] == ["https://www.googleapis.com/auth/cloud-platform"]
    starts = [*content["head_start_ray_commands"], *content["worker_start_ray_commands"]]
    assert all("RAY_AUTH_MODE=token" in each for each in starts if "ray start" in each)
    assert any("--dashboard-host=127.0.0.1" in each for each in starts)


@pytest.mark.parametrize("path", [GCP, LOCAL])
def test_every_node_command_is_valid_shell(path: Path) -> None:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    commands = [each for key in content if key.endswith("_commands") for each in content[key]]
    assert len(commands) > 5
    for command in commands:
        read = subprocess.run(["bash", "-n", "-c", command], capture_output=True, text=True, check=False)
        assert (read.returncode, read.stderr) == (0, ""), command


def set_zone(content: Content) -> None:
    content["provider"]["availability_zone"] = "us-central1-b"


def drop_provider(key: str) -> Callable[[Content], object]:
    return lambda content: content["provider"].pop(key)


DAMAGES: dict[str, tuple[Callable[[Content], object], str]] = {
    "no project": (
        drop_provider("project_id"),
        "provider.project_id is missing; write it below provider, as in configs/cluster/",
    ),
    "no zone": (
        drop_provider("availability_zone"),
        "provider.availability_zone is missing; write it below provider, as in configs/cluster/",
    ),
    "another cloud": (
        lambda c: c["provider"].update(type="gpc"),
        "provider.type: 'gpc' is not supported; did you mean 'gcp'? choices: gcp, local",
    ),
    "no provider": (lambda c: c.pop("provider"), "provider.type: None is not supported; choices: gcp, local"),
    "a zone of another region": (
        lambda c: c["provider"].update(availability_zone="europe-west4-a"),
        "provider.availability_zone: europe-west4-a is not a zone of us-central1; use one, for example us-central1-b",
    ),
    "a name that no machine can have": (
        lambda c: c.update(cluster_name="Chexpert_1"),
        "cluster_name: 'Chexpert_1' cannot be part of a machine's name; use at most 35 lowercase letters, digits "
        "and hyphens, and start with a letter",
    ),
    "a placeholder": (
        lambda c: c["provider"].update(project_id="YOUR-PROJECT"),
        "provider.project_id: YOUR-PROJECT is a placeholder; replace it with your own value",
    ),
    "a key that Ray does not know": (
        lambda c: c["available_node_types"]["t4"].update(max_worker=3),
        "available_node_types.t4: Additional properties are not allowed ('max_worker' was unexpected); correct it: "
        "`ray up` would refuse it",
    ),
    "a head of no type": (
        lambda c: c.update(head_node_type="heads"),
        "`head_node_type` must be one of `available_node_types`; correct it: `ray up` would refuse it",
    ),
    "a fraction of a GPU in a node": (
        lambda c: c["available_node_types"]["t4"]["resources"].update(GPU=0.5),
        "available_node_types.t4.resources.GPU: 0.5 is not of type 'integer'; correct it: `ray up` would refuse it",
    ),
    "more workers asked for than allowed": (
        lambda c: c["available_node_types"]["t4"].update(min_workers=9),
        "The specified global `max_workers` is smaller than the sum of `min_workers` of all the available node types; "
        "correct it: `ray up` would refuse it",
    ),
    "a folder that is not there": (
        lambda c: c["file_mounts"].update({"~/x": "chexx"}),
        f"file_mounts.~/x: chexx is not in {Path.cwd()}; run chex-search in the project's folder, or correct the path",
    ),
    "no token": (
        lambda c: c["file_mounts"].update({"~/.ray/auth_token": "~/nowhere/auth_token"}),
        "file_mounts: ~/nowhere/auth_token does not exist; create Ray's token: ray get-auth-token --generate",
    ),
    "no key": (
        lambda c: c["auth"].update(ssh_private_key="~/.ssh/none"),
        "auth.ssh_private_key: ~/.ssh/none is not a file; give the ssh key of the machines",
    ),
    "another Python": (
        lambda c: c["setup_commands"].append("uv venv --python 3.13"),
        "setup_commands.3: the nodes would have Python 3.13 and this machine has 3.11; they must be equal: change one",
    ),
    "another Ray in an image": (
        lambda c: c.update(docker={"image": "rayproject/ray-ml:2.9.0-py311-gpu", "container_name": "r"}),
        f"docker.image: the nodes would have Ray 2.9.0 and this machine has {RAY}; they must be equal: change one",
    ),
    "another Python in an image": (
        lambda c: c.update(docker={"image": f"rayproject/ray:{RAY}-py310-cu130", "container_name": "r"}),
        "docker.image: the nodes would have Python 3.10 and this machine has 3.11; they must be equal: change one",
    ),
    "another Ray by hand": (
        lambda c: c["head_setup_commands"].append("pip install 'ray[default]==2.59.1'"),
        f"head_setup_commands.4: the nodes would have Ray 2.59.1 and this machine has {RAY}; they must be equal: "
        "change one",
    ),
    "a disk in another zone": (
        set_zone,
        "available_node_types.t4.node_config.disks.1.initializeParams.diskType: "
        "zones/us-central1-a/diskTypes/local-ssd is not in us-central1-b; write zones/us-central1-b/ as in "
        "provider.availability_zone",
    ),
    "an account of another project": (
        lambda c: c["provider"].update(project_id="other"),
        "available_node_types.t4.node_config.serviceAccounts.0.email: "
        "ray-autoscaler-sa-v1@xray-42.iam.gserviceaccount.com is an account of another project; use an account "
        "of other",
    ),
    "a GPU that is not attached": (
        lambda c: machine(c).pop("guestAccelerators"),
        "available_node_types.t4.resources.GPU: 1, and node_config.guestAccelerators has 0; make them equal",
    ),
    "more CPUs than there are": (
        lambda c: c["available_node_types"]["t4"]["resources"].update(CPU=16),
        "available_node_types.t4.resources.CPU: 16, and n1-standard-8 has 8; write 8",
    ),
    "no machine": (
        lambda c: machine(c).pop("machineType"),
        "available_node_types.t4.node_config.machineType is missing; write one, for example n1-standard-8",
    ),
    "no price": (
        lambda c: c["metadata"]["price_per_hour"].pop("t4"),
        "metadata.price_per_hour.t4: None is not a price; write what such a machine costs per hour, so that the cost "
        "of a search can be bounded",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_mistake_is_reported_in_one_sentence_before_anything_is_created(
    damage: str, write_cluster: WriteCluster
) -> None:
    change, sentence = DAMAGES[damage]
    assert refused(write_cluster(filled(GCP), change)) == sentence


def test_the_lock_file_that_the_nodes_install_from_must_have_this_ray(
    write_cluster: WriteCluster, tmp_path: Path
) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text("ray==1.0.0 \\\n    --hash=sha256:0\n")
    path = write_cluster(
        filled(GCP), lambda c: c["file_mounts"].update({"~/chexpert-search/requirements.lock": str(lock)})
    )
    assert refused(path) == (
        f"{lock}: the nodes would have Ray 1.0.0 and this machine has {RAY}; they must be equal: change one"
    )


def test_unknown_metadata_is_refused(write_cluster: WriteCluster) -> None:
    assert "metadata" in refused(write_cluster(filled(GCP), lambda c: c["metadata"].update(price=1)))


def test_own_machines_need_addresses(write_cluster: WriteCluster) -> None:
    path = write_cluster(filled(LOCAL), lambda c: c["provider"].pop("worker_ips"))
    assert refused(path) == "provider.worker_ips is missing; write it below provider, as in configs/cluster/"


def test_a_running_cluster_is_found_after_local_changes(write_cluster: WriteCluster) -> None:
    path = write_cluster(filled(GCP), lambda c: c["file_mounts"].update({"~/x": "gone"}))
    assert read_running_cluster(path)["cluster_name"] == "chexpert"


def test_ray_prints_nothing_about_its_defaults(write_cluster: WriteCluster, capfd: pytest.CaptureFixture[str]) -> None:
    load_cluster(write_cluster(filled(GCP)))
    assert capfd.readouterr() == ("", "")
