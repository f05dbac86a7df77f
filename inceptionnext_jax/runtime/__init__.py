"""Processes, signals, host memory, logging and the compilation cache of a job."""
