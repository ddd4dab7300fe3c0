"""What a student learns from its teacher: losses, correlation terms, gradient revision."""
