"""How good and how fast a network is: forecasts, errors, FLOPs, time. Trains nothing."""
