"""Measurements, one script each; its docstring has the command."""
