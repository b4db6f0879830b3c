"""Sums of products of 8-bit integers, by what a processor multiplies: bytes, pairs, words, lanes."""
