"""Choose the trained networks that teach together, by what a user names."""
