"""Readings and road graph of sensors: import, checks, the built-in synthetic traffic."""
