"""Search for distilled and pruned STGCN students on Ray Tune and Optuna.

Computes no gradient: the network, its losses and its training are in ``core``. The top holds what
a user's script imports: ``sweep``, ``selection``, ``sweep_config``. The packages, each of which
imports only those below it:

    cli       commands, and how they are displayed
    outcomes  confirmed winners, export folders, logs for other tools
    report    the HTML page about sweeps
    driver    the one process that runs a sweep on Ray
    planning  everything that is checked before anything is trained
    search    samplers, schedulers and searchers: which trial is next, which stops early
    trials    one trial, from its settings to a trained student
    records   a sweep on disk: plan, ledger, trial records, students
    storage   object stores, local mirrors of them, and the lease of a driver
    space     what a sweep may vary and minimise, read from YAML
    internals what Ray and Optuna do not promise, so that an upgrade breaks one package
"""
