#!/usr/bin/env bash
# Restarts a command until it is done, for machines without a scheduler that does so.
#
#   launch/run_again.sh python main.py --config=configs/tiny.py --workdir=/ckpt
#
# Exits with 0 (done), 2 (a mistake in the command: a restart would not help), 75 (this script was
# asked to stop and the run has saved), or the run's last code after TRIES starts in a row that
# failed within MINUTES each. After any other exit it starts the command again, and the run resumes
# from its newest undamaged checkpoint. On several hosts run it on each: a lost process ends the
# others, and all join again.
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
  # A signal interrupts `wait` before the command has ended.
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
