"""Manage datasets: the commands ``hpo data list``, ``fetch``, ``import`` and ``check``."""
