"""The one process that drives a sweep on Ray, from its plan to its records."""
