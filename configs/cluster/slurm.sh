#!/usr/bin/env bash
# A search on the nodes of a SLURM cluster with a shared home directory:
#   sbatch --nodes=4 --gpus-per-node=1 configs/cluster/slurm.sh configs/search/chexpert.yaml --data TREE
# Everything after the script is passed to `chex-search run`; all nodes run one search. Submit it from the project's
# folder, after `make setup`. Ray starts on every node and the search on the first; both stop when the search ends or
# the time is up. An interrupted search resumes from its last reports when it is submitted again. Ray does not allow two
# such jobs on one node, hence --exclusive.
#SBATCH --job-name=chex-search
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-node=1
#SBATCH --time=24:00:00
set -euo pipefail

if [ $# -eq 0 ]; then
    echo "slurm.sh: the search is missing; for example: sbatch configs/cluster/slurm.sh configs/search/chexpert.yaml --data TREE" >&2
    exit 2
fi
cd "${SLURM_SUBMIT_DIR:?slurm.sh is started by sbatch}"
PATH=$PWD/.venv/bin:$PATH
if ! command -v chex-search >/dev/null; then
    echo "slurm.sh: $PWD/.venv holds no chex-search; run make setup in the project's folder and submit from there" >&2
    exit 2
fi

export RAY_AUTH_MODE=token              # refuses other users of these nodes
ray get-auth-token --generate >/dev/null
nodes=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes%%$'\n'*}                   # the first line
port=$((20000 + SLURM_JOB_ID % 10000))  # another user's Ray may use the default port

exec srun --kill-on-bad-exit=1 --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 \
    ray symmetric-run --address "$head:$port" --min-nodes "$SLURM_JOB_NUM_NODES" --num-cpus="$SLURM_CPUS_PER_TASK" -- \
    env RAY_ADDRESS="$head:$port" chex-search run "$@" --cluster auto
