"""Libraries of a network for other programs: what their C interface is, and the texts that go with them."""
