"""``hpo data``: list, fetch, import and check datasets."""
