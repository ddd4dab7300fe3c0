"""Hold how much memory the teacher targets of a machine may take by default. Needs no torch."""

from __future__ import annotations

MEMORY_BUDGET = 1_500_000_000
"""Bytes of targets shared by the trials of a machine; 44 days of 228 sensors fit as distances."""
