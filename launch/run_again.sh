#!/usr/bin/env bash
# Starts a command again until it is done, for machines without a scheduler that would.
#
#   launch/run_again.sh python main.py --config=configs/tiny.py --workdir=/ckpt
#
# Ends with 0 (done), 2 (a mistake in the command: starting again would not help), 75 (this script
# was asked to stop and the run has saved), or the run's last code after TRIES starts that failed
# within MINUTES each. Every other end is followed by another start: the run goes on by itself from
# its newest whole checkpoint. On several hosts run it on each: a lost process ends the others, and
# all meet again.
set -u
tries=${TRIES:-5} minutes=${MINUTES:-10} pause=${PAUSE:-10}
stopping=
child=
ask_to_stop() {
  stopping=1
  [ -n "$child" ] && kill -TERM "$child" 2>/dev/null
}
trap ask_to_stop TERM INT

quick=0
while :; do
  began=$SECONDS
  "$@" &
  child=$!
  wait "$child"
  code=$?
  # A signal ends `wait` before the command has ended.
  while kill -0 "$child" 2>/dev/null; do
    wait "$child"
    code=$?
  done
  child=
  if [ "$code" -eq 0 ] || [ "$code" -eq 2 ]; then exit "$code"; fi
  if [ -n "$stopping" ]; then exit "$code"; fi
  if [ $((SECONDS - began)) -lt $((60 * minutes)) ] && [ "$code" -ne 75 ]; then
    quick=$((quick + 1))
  else
    quick=0
  fi
  if [ "$quick" -ge "$tries" ]; then exit "$code"; fi
  echo "run_again: exit code $code, starting again in $pause s" >&2
  sleep "$pause" &
  wait $!
  if [ -n "$stopping" ]; then exit 75; fi
done
