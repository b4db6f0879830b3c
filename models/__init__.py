"""The shipped networks (`*.net`) and what goes with them."""
