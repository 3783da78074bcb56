#!/usr/bin/env bash
# A search on nodes of a SLURM cluster with a home directory that all of them share:
#   sbatch --nodes=4 --gpus-per-node=1 configs/cluster/slurm.sh configs/search/chexpert.yaml --data TREE
# Everything after the script goes to `chex-search run`, on all nodes as one search. Submit it from the project's
# folder, after `make setup`. Ray starts on every node, the search on the first; when it ends, or time is up, all of
# it stops. Submitted again, a search that was cut off goes on from its last reports. Two such jobs cannot share a
# node: Ray refuses, hence --exclusive.
#SBATCH --job-name=chex-search
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-node=1
#SBATCH --time=24:00:00
set -euo pipefail

if [ $# -eq 0 ]; then
    echo "slurm.sh: no search is given; for example: sbatch configs/cluster/slurm.sh configs/search/chexpert.yaml --data TREE" >&2
    exit 2
fi
cd "${SLURM_SUBMIT_DIR:?slurm.sh is started by sbatch}"
PATH=$PWD/.venv/bin:$PATH
if ! command -v chex-search >/dev/null; then
    echo "slurm.sh: $PWD/.venv holds no chex-search; run make setup in the project's folder and submit from there" >&2
    exit 2
fi

export RAY_AUTH_MODE=token              # other users of these nodes are not answered
ray get-auth-token --generate >/dev/null
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
port=$((20000 + SLURM_JOB_ID % 10000))  # somebody else's Ray may have the usual one

exec srun --kill-on-bad-exit=1 --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 \
    ray symmetric-run --address "$head:$port" --min-nodes "$SLURM_JOB_NUM_NODES" --num-cpus="$SLURM_CPUS_PER_TASK" -- \
    env RAY_ADDRESS="$head:$port" chex-search run "$@" --cluster auto
