"""Show what a reproduction found: sections, figures, a Markdown file and an HTML page."""
