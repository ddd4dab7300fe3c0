"""What a sweep may vary and what it minimises: YAML to checked values. Runs nothing."""
