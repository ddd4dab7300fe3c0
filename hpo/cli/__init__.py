"""Provide the command line ``hpo``: one file per command; nothing outside it prints."""
