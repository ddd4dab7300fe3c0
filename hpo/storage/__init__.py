"""Share files among machines: an object store, its local mirror, one driver. Knows no trial."""
