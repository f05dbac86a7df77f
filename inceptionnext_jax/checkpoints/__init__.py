"""A run's checkpoints on disk: which there are, whether they are whole, what they hold."""
