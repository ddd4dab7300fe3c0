"""Offer the commands that answer in JSON to agents, by the Model Context Protocol."""
