"""Gradients of weights as outer products of activations and gradients."""
