"""Object detection: RetinaNet, Mask R-CNN and Cascade Mask R-CNN."""
