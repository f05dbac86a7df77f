"""Building blocks of the networks, with PyTorch's constants."""
