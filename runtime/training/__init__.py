"""Training around the compiled step: data and augmentation, run folders with checkpoints, and the loop."""
