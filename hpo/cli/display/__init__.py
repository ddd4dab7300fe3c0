"""Show progress, tables and durations on a terminal."""
