"""Planning: everything that is checked before anything is trained. Runs no trial."""

from __future__ import annotations

from hpo.planning.places import Places

__all__ = ["Places"]
