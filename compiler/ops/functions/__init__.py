"""Functions of single elements: arithmetic, comparisons, activations."""
