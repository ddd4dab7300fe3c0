"""Train networks with one loop, configure it, and find trained teachers on the disk.

Does not define losses (``core.distillation``).
"""
