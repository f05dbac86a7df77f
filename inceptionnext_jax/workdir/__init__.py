"""The folder of a run: lock, description, metric files and storage paths."""
