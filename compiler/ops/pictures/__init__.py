"""Pictures of another size, and pictures read between pixels."""
