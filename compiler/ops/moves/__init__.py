"""Operators and layers that move, pick, place and repeat elements."""
