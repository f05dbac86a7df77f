"""Semantic segmentation: UperNet and Semantic FPN."""
