"""Sliding windows: convolution, pooling, and what they are differentiated to."""
