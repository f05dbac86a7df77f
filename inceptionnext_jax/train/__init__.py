"""The training loop and what it stands on. Knows tasks only by their protocol."""
