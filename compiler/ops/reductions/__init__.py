"""Reductions over dimensions, what is normalized by them, and elements in order."""
