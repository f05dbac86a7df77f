"""A run's checkpoints on disk: writing, manifests, retention, damage and reading."""
