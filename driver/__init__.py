"""netc: a graph compiler that takes a neural network from a small readable text to device code."""
