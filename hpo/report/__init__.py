"""Sweeps that ran in, one self-contained HTML page about them out (``hpo report``).

``gathering`` reads what is on the disk and ``networks`` runs the networks worth looking at; each
file in ``sections`` turns that into figures and one sentence; ``page`` and ``figure_files`` write
them down. Nothing here trains, and nothing of a sweep is changed.
"""
