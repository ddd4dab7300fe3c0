"""Import, download, check and open datasets: sensor readings with their road graph.

Also generates the built-in synthetic traffic. Does not fill gaps or scale (``core.preprocessing``).
"""
