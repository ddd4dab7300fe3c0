"""What leaves a sweep: confirmed winners, exports, views for other tools."""
