"""One training step on several processes: who computes which part of a batch, and how the parts are added."""
