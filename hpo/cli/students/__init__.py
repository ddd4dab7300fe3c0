"""Rank, confirm, export and profile students, evaluate them and forecast: one command per file."""
