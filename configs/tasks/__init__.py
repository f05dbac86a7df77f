"""The config keys of each task, over those that all tasks share."""
