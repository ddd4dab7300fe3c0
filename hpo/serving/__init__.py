"""Serve the forecasts of an exported student over HTTP (``hpo serve``).

``live_service`` takes rows and forecasts, ``journal`` keeps the rows on the disk, and
``rolling_errors`` compares forecasts with what came; ``app`` offers them as routes behind
``guards``, ``openmetrics`` as metrics and ``page`` as a page. Runs on ONNX Runtime and imports
neither torch nor Ray. Does not print.
"""
