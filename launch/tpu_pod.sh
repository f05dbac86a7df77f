#!/usr/bin/env bash
# Trains on all hosts of a TPU pod slice, and starts again where a host or the slice was lost.
#
#   TPU=my-slice ZONE=us-central2-b launch/tpu_pod.sh --config=configs/tiny.py --workdir=gs://bucket/tiny
#
# The code must lie in ~/inceptionnext_jax on every host with its packages in .venv, for example:
#   gcloud compute tpus tpu-vm ssh $TPU --zone=$ZONE --worker=all --command='git clone REPOSITORY
#     inceptionnext_jax && cd inceptionnext_jax && python3 -m venv .venv && .venv/bin/pip install -e ".[tpu,gcs]"'
# JAX finds the other hosts by itself. The workdir must be one that all hosts see.
set -euo pipefail
: "${TPU:?name of the slice}" "${ZONE:?its zone}"
flags=$(printf ' %q' "$@")
exec gcloud compute tpus tpu-vm ssh "$TPU" --zone="$ZONE" --worker=all \
  --command="cd inceptionnext_jax && exec launch/run_again.sh .venv/bin/python main.py$flags"
