"""Show how far a command is: bars, tables of running trials, and the time left."""
