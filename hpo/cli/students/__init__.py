"""Commands on what was found: rank, confirm, export, evaluate and forecast."""
