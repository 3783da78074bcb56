"""configs/cluster/slurm.sh, with programs in the place of SLURM's and Ray's that say what they were given."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path("configs/cluster/slurm.sh").absolute()
PROGRAMS = {
    "scontrol": 'echo node1; echo node2  # "$@"',
    "srun": 'echo srun "$@"; echo mode $RAY_AUTH_MODE',
    "ray": 'echo ray "$@" >> ray.txt; echo a-secret-token',
    "chex-search": "true",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project's folder whose environment holds the programs."""
    programs = tmp_path / ".venv/bin"
    programs.mkdir(parents=True)
    for name, body in PROGRAMS.items():
        (programs / name).write_text(f"#!/bin/sh\n{body}\n")
        (programs / name).chmod(0o755)
    return tmp_path


def submitted(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    job = {"SLURM_JOB_ID": "123456", "SLURM_JOB_NODELIST": "node[1-2]", "SLURM_JOB_NUM_NODES": "2"}
    environment = (
        os.environ | job | {"SLURM_CPUS_PER_TASK": "8", "SLURM_SUBMIT_DIR": str(project), "PATH": "/usr/bin:/bin"}
    )
    return subprocess.run(
        ["bash", str(SCRIPT), *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_ray_starts_on_every_node_and_the_search_on_the_first(project: Path) -> None:
    ran = submitted(project, "s.yaml", "--data", "a tree")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == [
        "srun --kill-on-bad-exit=1 --nodes=2 --ntasks=2 --ntasks-per-node=1 ray symmetric-run --address node1:23456 "
        "--min-nodes 2 --num-cpus=8 -- env RAY_ADDRESS=node1:23456 chex-search run s.yaml --data a tree "
        "--cluster auto",
        "mode token",
    ]
    assert (project / "ray.txt").read_text() == "ray get-auth-token --generate\n"


def test_without_a_search_it_prints_its_usage(project: Path) -> None:
    ran = submitted(project)
    assert ran.returncode == 2
    assert ran.stderr == (
        "slurm.sh: the search is missing; for example: sbatch configs/cluster/slurm.sh configs/search/chexpert.yaml "
        "--data TREE\n"
    )


def test_outside_the_projects_folder_it_says_so(project: Path) -> None:
    (project / ".venv/bin/chex-search").unlink()
    ran = submitted(project, "s.yaml")
    assert ran.returncode == 2
    assert "holds no chex-search; run make setup in the project's folder and submit from there" in ran.stderr
