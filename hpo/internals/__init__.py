"""Keep everything that Ray Tune and Optuna do not promise in one place.

An upgrade of either can then break these modules alone, and
``tests/contracts/test_ray_and_optuna_contract.py`` says what broke. Public interfaces of both are
used where they are needed; nothing here knows of sweeps or ledgers.
"""
