from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chex.cache import ImageConfig
from chex.errors import InputError
from chex.relabel import RelabelConfig
from chex.uncertainty import PolicyConfig
from search.cluster_config import Cluster, Metadata, NodeType
from search.cluster_preflight import bound, check_search, for_cluster, packings
from search.resources import Resources
from search.search_config import SearchConfig

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
    metadata=Metadata(price_per_hour={"head": 0.1, "t4": 0.4, "l4": 1.0}, currency="EUR", cache="/mnt/cache"),
)


def search(gpus: float = 0.25, hours: float | None = 24.0, image: Any = None, resources: Any = None) -> SearchConfig:
    return SearchConfig.model_validate(
        {
            "base": {"image": image or {}},
            "space": {"optimizer.lr": {"loguniform": [1e-4, 1e-2]}},
            "budget": {"hours": hours},
            "resources": {"gpus_per_trial": gpus} | (resources or {}),
            "storage": "file:///searches",
        }
    )


def test_a_quarter_of_a_gpu_packs_four_trials_on_every_node() -> None:
    (packing,) = packings(CLUSTER, Resources(gpus_per_trial=0.25))
    assert (packing.trials_per_node, packing.cpus_per_trial, packing.at_once) == (4, 2, 16)


def test_what_is_left_of_two_nodes_makes_no_further_trial() -> None:
    (packing,) = packings(CLUSTER, Resources(gpus_per_trial=0.4))
    assert packing.at_once == 8


def test_every_type_must_have_room_for_a_trial() -> None:
    big = replace(CLUSTER, workers=(NodeType("a100", 24, 2, 1), T4))
    assert [each.at_once for each in packings(replace(big, workers=big.workers[:1]), Resources(gpus_per_trial=2))] == [
        1
    ]
    with pytest.raises(InputError) as error:
        packings(big, Resources(gpus_per_trial=2))
    assert str(error.value) == (
        "resources: a trial asks for 1 CPU and 2 GPUs, and a node of type t4 in c.yaml has 8 CPUs and 1 GPU; lower "
        "resources.gpus_per_trial to 1"
    )


def test_gpus_that_no_trial_would_use_are_refused() -> None:
    with pytest.raises(InputError) as error:
        packings(CLUSTER, Resources())
    assert str(error.value) == (
        "resources.gpus_per_trial: 0, and a node of type t4 in c.yaml has GPUs that would be paid for and not used; "
        "set for example resources.gpus_per_trial=.25"
    )


def test_the_bound_counts_the_head_and_as_many_of_the_dearest_workers_as_there_may_be() -> None:
    mixed = replace(CLUSTER, workers=(T4, L4), max_workers=5)
    told = bound(mixed, 24)
    assert told.hours == 24 + 0.5 + 0.25
    assert told.cost == pytest.approx(24.75 * (0.1 + 2 * 1.0 + 3 * 0.4))


def test_the_preflight_tells_the_packing_and_the_bound() -> None:
    assert check_search(CLUSTER, search(), "/data/tree") == (
        "t4: 1 GPU at 0.25 a trial, 2 CPUs each: 4 trials a node; 4 nodes at most: 16 at once\n"
        "At most 42.08 EUR for machines: 24.8 hours (24 of budget.hours, 0.5 to start, 15 minutes idle) at the prices "
        "in c.yaml;\n"
        "the head goes on at 0.10 EUR an hour until `chex-search cluster down c.yaml`. "
        "Buckets and traffic come on top.\n"
        "Fetching and decoding the data, where they take longer than 30 minutes, are not in this bound: up to 0.50 EUR "
        "an hour (the head and a worker)."
    )


def test_the_preflight_says_that_the_teacher_is_not_in_the_bound_unless_its_table_is_there() -> None:
    plain = search()
    policy = {"default": PolicyConfig(kind="self_trained")}
    taught = plain.model_copy(update={"base": plain.base.model_copy(update={"policy": policy})})
    told = check_search(CLUSTER, taught, "/data/tree").splitlines()
    assert told[-2] == (
        "Fetching and decoding the data, where they take longer than 30 minutes, and training the teacher of "
        "self_trained are not in this bound: they come before the clock of budget.hours, at up to 0.50 EUR an hour "
        "(the head and a worker);"
    )
    table = RelabelConfig(self_trained=Path("table.csv"))
    given = taught.model_copy(update={"base": taught.base.model_copy(update={"relabel": table})})
    assert "teacher" not in check_search(CLUSTER, given, "/data/tree")


def test_a_search_without_an_end_in_hours_is_refused_where_machines_are_billed() -> None:
    with pytest.raises(InputError) as error:
        check_search(CLUSTER, search(hours=None), "/data/tree")
    assert str(error.value) == (
        "budget.hours: blank, and machines are billed by the hour; set it, for example --set budget.hours=24"
    )


def test_machines_of_ones_own_cost_nothing_and_need_no_hours() -> None:
    own = replace(CLUSTER, workers=(), head="", metadata=Metadata())
    assert check_search(own, search(hours=None), "/data/tree").startswith("The machines are yours, nothing is billed")


def test_a_path_of_this_machine_is_refused() -> None:
    with pytest.raises(InputError) as error:
        check_search(CLUSTER, search(), "CheXpert-v1.0-small")
    assert str(error.value) == (
        "--data CheXpert-v1.0-small: a path of this machine, which no node sees; give a bucket's gs:// address, or an "
        "absolute path that every node has"
    )


def test_films_are_decoded_onto_the_nodes_own_disk_unless_the_search_says_where() -> None:
    assert for_cluster(search(), CLUSTER).base.image.cache == Path("/mnt/cache")
    assert for_cluster(search(image={"cache": "/fast"}), CLUSTER).base.image.cache == Path("/fast")
    assert for_cluster(search(), replace(CLUSTER, metadata=Metadata())).base.image.cache == ImageConfig().cache


def test_trials_at_once_are_those_that_all_workers_hold_which_there_may_be() -> None:
    def at_once(cluster: Cluster, **given: Any) -> tuple[object, object]:
        own = for_cluster(search(resources=given), cluster).resources
        return own.at_once, own.cpus_per_trial

    assert at_once(CLUSTER) == (16, 2)
    assert at_once(CLUSTER, at_once=5) == (5, 2)
    assert at_once(CLUSTER, cpus_per_trial=4) == (8, 4)
    assert at_once(replace(CLUSTER, workers=(T4, NodeType("a100", 12, 1, 2)), max_workers=5)) == (20, 2)
    assert at_once(replace(CLUSTER, workers=())) == (None, "auto")


def test_searches_are_kept_where_the_cluster_says_unless_they_say_where() -> None:
    own = replace(CLUSTER, metadata=Metadata(storage="gs://b/searches"))
    assert for_cluster(search(), own).storage == "file:///searches"
    assert for_cluster(search().model_copy(update={"storage": None}), own).storage == "gs://b/searches"
