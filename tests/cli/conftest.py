"""Fixtures of the command-line tests."""

from tests.tiny_imagenet import tiny_array_record, tiny_tfrecord

__all__ = ["tiny_array_record", "tiny_tfrecord"]
