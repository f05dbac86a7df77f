"""ConvNeXt's published rows, and isotropic InceptionNeXt's after them."""
