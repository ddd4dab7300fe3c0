"""A trained network in, a student whose shape was found by pruning out (Algorithm 1)."""
