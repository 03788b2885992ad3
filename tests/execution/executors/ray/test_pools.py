"""The GPUs of a Ray cluster, from the resources of its nodes."""

from execution.executors.ray.pools import nodes_with, pools_in
from runs.executors import FoundPool

# Recorded from Ray 2.60 (the first), and as its documentation has it.
HEAD = {"node:192.0.2.2": 1.0, "memory": 21765865216.0, "CPU": 4.0, "node:__internal_head__": 1.0}
A100 = {"CPU": 96.0, "GPU": 8.0, "accelerator_type:A100": 1.0}
H100 = {"CPU": 96.0, "GPU": 4.0, "accelerator_type:H100": 1.0}


def test_gpus_are_counted_by_type():
    assert pools_in([HEAD, A100, A100, H100]) == [FoundPool("A100", 16), FoundPool("H100", 4)]


def test_gpus_without_a_type_are_a_pool():
    assert pools_in([{"GPU": 2.0}, {"GPU": 2.0}]) == [FoundPool("gpu", 4)]


def test_cluster_without_gpus_has_no_pools():
    assert pools_in([HEAD]) == []


def test_nodes_that_have_all_that_is_needed():
    needed = {"GPU": 8.0, "CPU": 1.0, "accelerator_type:A100": 0.001}

    assert nodes_with([HEAD, A100, A100, H100], needed) == 2
