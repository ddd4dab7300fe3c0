"""Turn sensor readings and a road graph into trained, distilled and exported STGCN forecasters.

The top level holds the network (``stgcn``, ``stgcn_config``), the whole runs (``experiments``:
train a teacher, distill a student, prune one) and what all rooms stand on (``graph``,
``checkpoint``, ``compiler_import``, ``files``, ``devices``, ``seeding``, ``shapes``, ``errors``).
Rooms:

    datasets/        import, download, check and open readings and graphs; synthetic traffic
    preprocessing/   fill gaps, scale, cut windows and batches
    evaluation/      forecast, measure errors, parameters, FLOPs and latency
    training/        the one training loop, its settings, and trained teachers on the disk
    distillation/    the losses, and the teacher targets that they compare students with
    pruning/         Algorithm 1: score filters, plan removals, slice the network
    forecasters/     convert a student to modules, ONNX files and a ``torch.export`` program
    export/          write, verify and read export folders; forecast and evaluate with them

Does not search: it imports neither ray, optuna nor hpo.
"""
