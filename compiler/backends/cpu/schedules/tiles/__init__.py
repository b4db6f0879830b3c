"""Sums of products in tile registers."""
