"""The GPUs of a Slurm cluster, from sinfo."""

from execution.executors.slurm.pools import pools_in
from runs.executors import FoundPool

# Recorded from Slurm 22.05, and as slurm.conf(5) has it.
SINFO = """\
main|gpu:a100:4|2
main|gpu:a100:8(S:0-1),gpu:h100:2|1
cpu|(null)|10
old|gpu:4|3
shared|gpu:a100:no_consume:2|1
"""


def test_gpus_are_counted_by_partition_and_type():
    assert pools_in(SINFO) == [
        FoundPool("a100", 16, "main"),
        FoundPool("h100", 2, "main"),
        FoundPool("gpu", 12, "old"),
        FoundPool("a100", 2, "shared"),
    ]


def test_other_lines_are_passed_over():
    assert pools_in("\nslurm_load_partitions: Unable to contact\nx|y\n") == []
