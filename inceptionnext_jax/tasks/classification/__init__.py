"""Image classification with one label an image, or with several."""
