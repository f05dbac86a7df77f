"""Measurements; run each as `python benchmarks/NAME.py`."""
