"""Convolutions, and their weight gradients, by Winograd's minimal filtering."""
