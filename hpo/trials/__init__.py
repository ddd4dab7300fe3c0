"""One trial: from flat settings to a trained student, here or in a worker of Ray."""
