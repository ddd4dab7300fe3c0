"""Parse tables, matrices, identities and times in the files of users.

Knows nothing of datasets, splits and graphs: ``readings_files`` and ``graph_files`` interpret what
is parsed here.
"""
