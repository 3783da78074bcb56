from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chex.data.data_config import ImageConfig
from chex.errors import InputError
from chex.uncertainty.policy_config import PolicyConfig, RelabelConfig
from search.cluster.cluster_config import Cluster, Metadata, NodeType
from search.cluster.preflight import adapt_to_cluster, cost_bound, pack_trials, preflight
from search.config.resources import Resources
from search.config.search_config import SearchConfig

T4, L4 = NodeType("t4", 8, 1, 4), NodeType("l4", 8, 1, 2)
CLUSTER = Cluster(
    path=Path("c.yaml"),
    name="c",
    provider={"type": "gcp"},
    head="head",
    workers=(T4,),
    max_workers=4,
    idle_hours=0.25,
    mounts={},
    metadata=Metadata(price_per_hour={"head": 0.1, "t4": 0.4, "l4": 1.0}, currency="EUR", cache_dir="/mnt/cache"),
)


def search(gpus: float = 0.25, hours: float | None = 24.0, image: Any = None, resources: Any = None) -> SearchConfig:
    return SearchConfig.model_validate(
        {
            "base": {"image": image or {}},
            "space": {"optimizer.lr": {"loguniform": [1e-4, 1e-2]}},
            "budget": {"hours": hours},
            "resources": {"gpus_per_trial": gpus} | (resources or {}),
            "storage_uri": "file:///searches",
        }
    )


def test_a_quarter_of_a_gpu_packs_four_trials_on_every_node() -> None:
    (packing,) = pack_trials(CLUSTER, Resources(gpus_per_trial=0.25))
    assert (packing.trials_per_node, packing.cpus_per_trial, packing.max_concurrent_trials) == (4, 2, 16)


def test_the_rests_of_two_nodes_do_not_add_up_to_a_trial() -> None:
    (packing,) = pack_trials(CLUSTER, Resources(gpus_per_trial=0.4))
    assert packing.max_concurrent_trials == 8


def test_every_type_must_have_room_for_a_trial() -> None:
    big = replace(CLUSTER, workers=(NodeType("a100", 24, 2, 1), T4))
    assert [
        each.max_concurrent_trials
        for each in pack_trials(replace(big, workers=big.workers[:1]), Resources(gpus_per_trial=2))
    ] == [1]
    with pytest.raises(InputError) as error:
        pack_trials(big, Resources(gpus_per_trial=2))
    assert str(error.value) == (
        "resources: a trial asks for 1 CPU and 2 GPUs, and a node of type t4 in c.yaml has 8 CPUs and 1 GPU; lower "
        "resources.gpus_per_trial to 1"
    )


def test_gpus_that_no_trial_would_use_are_refused() -> None:
    with pytest.raises(InputError) as error:
        pack_trials(CLUSTER, Resources())
    assert str(error.value) == (
        "resources.gpus_per_trial: 0, and a node of type t4 in c.yaml has GPUs that would be paid for but not used; "
        "set for example resources.gpus_per_trial=.25"
    )


def test_the_cost_bound_counts_the_head_and_as_many_of_the_most_expensive_workers_as_are_allowed() -> None:
    mixed = replace(CLUSTER, workers=(T4, L4), max_workers=5)
    message = cost_bound(mixed, 24)
    assert message.hours == 24 + 0.5 + 0.25
    assert message.cost == pytest.approx(24.75 * (0.1 + 2 * 1.0 + 3 * 0.4))


def test_the_preflight_prints_the_packing_and_the_cost_bound() -> None:
    assert preflight(CLUSTER, search(), "/data/tree") == (
        "t4: 1 GPU at 0.25 per trial, 2 CPUs each: 4 trials per node; at most 4 nodes: 16 concurrent trials\n"
        "At most 42.08 EUR for machines: 24.8 hours (24 of budget.hours, 0.5 to start, 15 minutes idle) at the prices "
        "in c.yaml;\n"
        "the head then costs 0.10 EUR per hour until `chex-search cluster down c.yaml`. "
        "Buckets and traffic are extra.\n"
        "Fetching and decoding the data, beyond 30 minutes, is not included: up to 0.50 EUR per hour (the head and a "
        "worker)."
    )


def test_the_preflight_says_that_the_bound_excludes_the_teacher_unless_its_table_exists() -> None:
    plain = search()
    policy = {"default": PolicyConfig(kind="self_trained")}
    taught = plain.model_copy(update={"base": plain.base.model_copy(update={"policy": policy})})
    message = preflight(CLUSTER, taught, "/data/tree").splitlines()
    assert message[-2] == (
        "Fetching and decoding the data, beyond 30 minutes, and training the teacher of self_trained are not included: "
        "they run before the clock of budget.hours starts, at up to 0.50 EUR per hour (the head and a worker);"
    )
    table = RelabelConfig(self_trained=Path("table.csv"))
    settings = taught.model_copy(update={"base": taught.base.model_copy(update={"relabel": table})})
    assert "teacher" not in preflight(CLUSTER, settings, "/data/tree")


def test_a_search_without_a_limit_in_hours_is_refused_if_machines_are_billed() -> None:
    with pytest.raises(InputError) as error:
        preflight(CLUSTER, search(hours=None), "/data/tree")
    assert str(error.value) == (
        "budget.hours: blank, and machines are paid by the hour; set it, for example --set budget.hours=24"
    )


def test_own_machines_cost_nothing_and_need_no_hours() -> None:
    own = replace(CLUSTER, workers=(), head="", metadata=Metadata())
    assert preflight(own, search(hours=None), "/data/tree").startswith("The machines are your own and cost nothing")


def test_a_path_on_this_machine_is_refused() -> None:
    with pytest.raises(InputError) as error:
        preflight(CLUSTER, search(), "CheXpert-v1.0-small")
    assert str(error.value) == (
        "--data CheXpert-v1.0-small: a path on this machine, which no node sees; give a bucket's gs:// address, or an "
        "absolute path that exists on every node"
    )


def test_images_are_decoded_to_the_cache_dir_of_the_cluster_unless_the_search_sets_one() -> None:
    assert adapt_to_cluster(search(), CLUSTER).base.image.cache_dir == Path("/mnt/cache")
    assert adapt_to_cluster(search(image={"cache_dir": "/fast"}), CLUSTER).base.image.cache_dir == Path("/fast")
    assert (
        adapt_to_cluster(search(), replace(CLUSTER, metadata=Metadata())).base.image.cache_dir
        == ImageConfig().cache_dir
    )


def test_the_concurrent_trials_fill_all_workers_that_are_allowed() -> None:
    def slots(cluster: Cluster, **settings: Any) -> tuple[object, object]:
        own = adapt_to_cluster(search(resources=settings), cluster).resources
        return own.max_concurrent_trials, own.cpus_per_trial

    assert slots(CLUSTER) == (16, 2)
    assert slots(CLUSTER, max_concurrent_trials=5) == (5, 2)
    assert slots(CLUSTER, cpus_per_trial=4) == (8, 4)
    assert slots(replace(CLUSTER, workers=(T4, NodeType("a100", 12, 1, 2)), max_workers=5)) == (20, 2)
    assert slots(replace(CLUSTER, workers=())) == (None, "auto")


def test_searches_are_stored_where_the_cluster_says_unless_they_set_a_storage() -> None:
    own = replace(CLUSTER, metadata=Metadata(storage_uri="gs://b/searches"))
    assert adapt_to_cluster(search(), own).storage_uri == "file:///searches"
    assert adapt_to_cluster(search().model_copy(update={"storage_uri": None}), own).storage_uri == "gs://b/searches"
