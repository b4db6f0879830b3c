"""How well programs do on labelled samples."""
