"""Products of two activations: batched matrices, attention, sums of rows."""
