"""The published rows of ConvNeXt, and those of isotropic InceptionNeXt, which follow its recipe."""
