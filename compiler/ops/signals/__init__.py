"""Sounds and other signals: frames, Fourier transforms, features."""
