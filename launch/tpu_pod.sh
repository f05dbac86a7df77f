#!/usr/bin/env bash
# Trains on all hosts of a TPU pod slice, and restarts after a host or the slice was lost.
#
#   TPU=my-slice ZONE=us-central2-b launch/tpu_pod.sh --config=configs/tiny.py --workdir=gs://bucket/tiny
#
# Every host needs the code in ~/inceptionnext_jax with its packages in .venv, for example:
#   gcloud compute tpus tpu-vm ssh $TPU --zone=$ZONE --worker=all --command='git clone REPOSITORY
#     inceptionnext_jax && cd inceptionnext_jax && python3 -m venv .venv && .venv/bin/pip install -e ".[tpu,gcs]"'
# JAX finds the other hosts by itself. All hosts must see the workdir.
set -euo pipefail
: "${TPU:?name of the slice}" "${ZONE:?its zone}"
flags=$(printf ' %q' "$@")
exec gcloud compute tpus tpu-vm ssh "$TPU" --zone="$ZONE" --worker=all \
  --command="cd inceptionnext_jax && exec launch/run_again.sh .venv/bin/python main.py$flags"
