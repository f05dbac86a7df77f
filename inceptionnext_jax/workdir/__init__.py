"""A run's folder: lock, description, metric files and storage paths."""
