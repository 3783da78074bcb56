from typing import Any

import pytest

from chex.config import validate
from chex.errors import InputError
from search.config.resources import Node, Resources, TrialSlots, plan_slots
from search.ray_nodes.nodes import worker_types


def resources(**values: Any) -> Resources:
    return validate(Resources, values, "resources")


@pytest.mark.parametrize(
    ("share", "gpus", "at_once"),
    [
        (0.25, 2, 8),
        (0.4, 2, 4),  # two a GPU: the fifths that are left lie on different GPUs
        (0.3, 1, 3),
        (0.1, 1, 10),
        (0.33, 1, 3),
        (0.3333, 1, 3),
        (0.3334, 1, 2),
        (0.2, 3, 15),
        (0.05, 1, 20),
        (0.07, 1, 14),
        (0.51, 4, 4),
        (1, 4, 4),
        (2, 4, 2),
        (3, 4, 1),
    ],
)
def test_a_gpu_is_shared_by_as_many_trials_as_it_holds_whole_shares(share: float, gpus: int, at_once: int) -> None:
    assert plan_slots(resources(gpus_per_trial=share), [Node(64, gpus)]).max_concurrent_trials == at_once


def test_every_share_that_is_one_part_of_a_gpu_holds_as_many() -> None:
    parts = [count for count in range(1, 101) if 10_000 % count == 0]
    held = [plan_slots(resources(gpus_per_trial=1 / count), [Node(128, 1)]).max_concurrent_trials for count in parts]
    assert held == parts


@pytest.mark.parametrize(
    ("asked", "cpus", "gpus", "given"),
    [
        ({}, 2, 0, TrialSlots(1, 0, 2, 0, 0)),
        ({}, 8, 2, TrialSlots(1, 0, 8, 0, 2)),
        ({"gpus_per_trial": 0.25}, 8, 1, TrialSlots(2, 0.25, 4, 0, 0)),
        ({"gpus_per_trial": 0.25}, 15, 1, TrialSlots(3, 0.25, 4, 3, 0)),
        ({"gpus_per_trial": 0.25}, 3, 1, TrialSlots(1, 0.25, 3, 0, 0.25)),
        ({"gpus_per_trial": 0.4}, 16, 2, TrialSlots(4, 0.4, 4, 0, 0.4)),
        ({"gpus_per_trial": 0.3, "cpus_per_trial": 2}, 5, 1, TrialSlots(2, 0.3, 2, 1, 0.4)),
        ({"gpus_per_trial": 2}, 7, 2, TrialSlots(7, 2, 1, 0, 0)),
        ({"cpus_per_trial": 2}, 5, 1, TrialSlots(2, 0, 2, 1, 1)),
    ],
)
def test_cpus_are_divided_among_the_trials_that_run_at_once_and_what_lies_idle_is_told(
    asked: dict[str, Any], cpus: int, gpus: int, given: TrialSlots
) -> None:
    assert plan_slots(resources(**asked), [Node(cpus, gpus)]) == given


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (
            {"cpus_per_trial": 4, "gpus_per_trial": 0.25},
            "resources: a trial asks for 4 CPUs and 0.25 GPU, and this machine has 2 CPUs and no GPU; "
            "lower resources.cpus_per_trial to 2 or auto and resources.gpus_per_trial to 0",
        ),
        (
            {"cpus_per_trial": 3},
            "resources: a trial asks for 3 CPUs and no GPU, and this machine has 2 CPUs and no GPU; "
            "lower resources.cpus_per_trial to 2 or auto",
        ),
        (
            {"gpus_per_trial": 2},
            "resources: a trial asks for 1 CPU and 2 GPUs, and this machine has 2 CPUs and no GPU; "
            "lower resources.gpus_per_trial to 0",
        ),
    ],
)
def test_what_the_machine_does_not_have_is_refused_with_the_arithmetic(asked: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError) as refused:
        plan_slots(resources(**asked), [Node(2, 0)])
    assert str(refused.value) == told


HEAD, T4, A100 = Node(4, 0), Node(8, 1), Node(96, 8)


@pytest.mark.parametrize(
    ("asked", "nodes", "given"),
    [
        ({"gpus_per_trial": 0.25}, [HEAD, T4, T4, T4], TrialSlots(2, 0.25, 12, 4, 0)),
        ({"gpus_per_trial": 0.4}, [T4, T4], TrialSlots(4, 0.4, 4, 0, 0.4)),  # not five of two GPUs
        ({"gpus_per_trial": 0.25}, [T4, A100], TrialSlots(2, 0.25, 36, 32, 0)),  # of the smaller node's CPUs
        ({"gpus_per_trial": 0.25, "cpus_per_trial": 3}, [T4, A100], TrialSlots(3, 0.25, 34, 2, 0.5)),
        ({"gpus_per_trial": 2}, [T4, T4, A100], TrialSlots(24, 2, 4, 16, 2)),
        ({}, [HEAD, T4], TrialSlots(1, 0, 12, 0, 1)),
        ({"cpus_per_trial": 5}, [HEAD, T4], TrialSlots(5, 0, 1, 7, 1)),
    ],
)
def test_each_node_of_a_cluster_holds_the_trials_that_it_has_room_for(
    asked: dict[str, Any], nodes: list[Node], given: TrialSlots
) -> None:
    assert plan_slots(resources(**asked), nodes, grows=True) == given


def test_nodes_that_are_to_come_need_not_be_there() -> None:
    asked = {"gpus_per_trial": 0.25, "cpus_per_trial": 2, "max_concurrent_trials": 8}
    assert plan_slots(resources(**asked), [HEAD], grows=True) == TrialSlots(2, 0.25, 8, 0, 0)
    with pytest.raises(
        InputError, match=r"cpus_per_trial: 'auto' divides the CPUs of a node, and no node with 0.25 GPU has"
    ):
        plan_slots(resources(gpus_per_trial=0.25, max_concurrent_trials=8), [HEAD], grows=True)


def test_nodes_to_come_that_have_no_room_either_are_refused_instead_of_waited_for() -> None:
    asked = {"gpus_per_trial": 2, "cpus_per_trial": 2, "max_concurrent_trials": 8}
    assert plan_slots(resources(**asked), [HEAD], grows=True, coming=[T4, A100]).max_concurrent_trials == 8
    with pytest.raises(InputError) as refused:
        plan_slots(resources(**asked), [HEAD], grows=True, coming=[T4])
    assert str(refused.value) == (
        "resources: a trial asks for 2 CPUs and 2 GPUs, and neither a node of the cluster (1 with 4 CPUs and no GPU) "
        "nor one that may be added (8 CPUs and 1 GPU) has both, so trials would wait without end; lower "
        "resources.cpus_per_trial or resources.gpus_per_trial, or give the cluster larger nodes"
    )


def test_auto_cpus_are_those_of_the_nodes_to_come_where_their_kinds_are_known() -> None:
    asked = {"gpus_per_trial": 0.25, "max_concurrent_trials": 8}
    assert plan_slots(resources(**asked), [HEAD], grows=True, coming=[T4]).cpus_per_trial == 2


def test_the_kinds_of_workers_are_read_off_what_ray_up_was_told() -> None:
    types = {
        "head": {"resources": {"CPU": 4}, "max_workers": 0},
        "t4": {"resources": {"CPU": 8, "GPU": 1}, "max_workers": 4},
        "never": {"resources": {"CPU": 64, "GPU": 8}, "max_workers": 0},
    }
    assert worker_types({"available_node_types": types, "head_node_type": "head"}) == [Node(8, 1)]
    assert worker_types({}) == []


def test_on_one_machine_a_number_at_once_is_a_limit() -> None:
    assert plan_slots(resources(max_concurrent_trials=2), [Node(8, 0)]).max_concurrent_trials == 2
    assert plan_slots(resources(max_concurrent_trials=16), [Node(8, 0)]).max_concurrent_trials == 8
    with pytest.raises(InputError, match="this machine has 8 CPUs and no GPU"):
        plan_slots(resources(gpus_per_trial=1, max_concurrent_trials=1), [Node(8, 0)])


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (
            {"gpus_per_trial": 2},
            "resources: a trial asks for 1 CPU and 2 GPUs, and no node has both: 1 with 4 CPUs and no GPU; "
            "2 with 8 CPUs and 1 GPU; lower resources.gpus_per_trial to 1, or set resources.max_concurrent_trials if "
            "nodes are "
            "still to be added",
        ),
        (
            {"cpus_per_trial": 16},
            "resources: a trial asks for 16 CPUs and no GPU, and no node has both: 1 with 4 CPUs and no GPU; "
            "2 with 8 CPUs and 1 GPU; lower resources.cpus_per_trial to 8 or auto, or set "
            "resources.max_concurrent_trials if "
            "nodes are still to be added",
        ),
    ],
)
def test_what_no_node_has_is_refused_with_the_arithmetic_of_each_kind(asked: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError) as refused:
        plan_slots(resources(**asked), [HEAD, T4, T4], grows=True)
    assert str(refused.value) == told


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"gpus_per_trial": 1.5}, r"gpus_per_trial: 1.5 is above 1 and not whole; use a fraction up to 1 or a whole"),
        (
            {"gpus_per_trial": 0.33333},
            r"gpus_per_trial: 0.33333 has more than the four decimals that Ray counts; use 0.3333",
        ),
        ({"gpus_per_trial": 0.00001}, r"1e-05 has more than the four decimals that Ray counts; use 0.0001"),
        ({"gpus_per_trial": -1}, r"gpus_per_trial: -1 is refused, it should be greater than or equal to 0"),
        ({"cpus_per_trial": 0}, r"cpus_per_trial: 0 is refused, it should be 'auto' or a whole number from 1"),
        ({"cpus_per_trial": 1.5}, r"cpus_per_trial: 1.5 is refused, it should be 'auto' or a whole number from 1"),
        ({"cpus_per_trial": True}, r"cpus_per_trial: True is refused, it should be 'auto' or a whole number from 1"),
    ],
)
def test_what_no_machine_can_give_is_refused_at_load(asked: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        resources(**asked)
