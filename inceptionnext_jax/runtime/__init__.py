"""Processes, signals, memory and caches of the machine that runs a job."""
