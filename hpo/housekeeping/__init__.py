"""Housekeeping: delete a sweep, pack it into one file, unpack that elsewhere. Runs no sweep."""
