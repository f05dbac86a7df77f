"""Pictures that explain models and data; knows nothing of training."""
