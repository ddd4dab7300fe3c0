"""Bring the files of a sweep and of its teachers to a storage, and back."""
