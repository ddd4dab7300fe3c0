"""Repeat the paper's tables and say which of its claims hold (``hpo reproduce``).

``contenders`` and ``tables`` list what is compared and what the paper claims; ``planning`` finds
the sweeps that a table needs, ``running`` runs what is missing of them, ``test_days`` looks at the
test days once, ``statistics`` and ``verdicts`` judge, ``pages`` writes it down.
"""
