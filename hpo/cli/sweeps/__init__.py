"""Begin, resume, clone, watch and inspect sweeps: one command per file."""
