"""Report on sweeps in one self-contained HTML page (``hpo report``).

``gathering`` reads what is on the disk and ``networks`` evaluates the best students and the
teacher; each file in ``sections`` turns that into figures and one sentence; ``page`` and
``figure_files`` write them. Trains nothing and changes nothing of a sweep.
"""
