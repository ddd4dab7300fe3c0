"""Outcomes: what leaves a sweep: confirmed winners, exports, logs for other tools."""
