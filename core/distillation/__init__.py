"""Compute what a student learns from its teacher: losses, their terms, the teacher's targets."""
