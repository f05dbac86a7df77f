#!/usr/bin/env bash
# Trains under SLURM and requeues itself until the run is done.
#
#   sbatch --nodes=4 --time=24:00:00 launch/slurm.sh --config=configs/tiny.py --workdir=/shared/tiny
#
# One task per GPU; JAX reads the hosts from SLURM's variables. All nodes must see the workdir. SLURM
# sends SIGTERM 120 s before the time is up: the run saves and exits with 75.
#SBATCH --job-name=inceptionnext
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-task=1
#SBATCH --cpus-per-task=12
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
set -u
most=${MOST_RESTARTS:-50}
# The batch shell itself must survive the signal, to requeue the job.
trap '' TERM

# A failing task ends the others.
srun --kill-on-bad-exit=1 python main.py "$@"
code=$?
if [ "$code" -eq 0 ] || [ "$code" -eq 2 ]; then exit "$code"; fi
if [ "${SLURM_RESTART_COUNT:-0}" -lt "$most" ]; then
  echo "slurm.sh: exit code $code, requeueing"
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
