"""The one training loop, its settings, and teachers on the disk. Knows no loss."""
