"""Describe METR-LA: four months of Los Angeles.

Speeds in mph of 207 loop detectors, 5 minutes, 1 March to 27 June 2012: 119 consecutive days of 288
rows. ``metr-la.h5`` is a pandas frame with sensor ids as columns and times as rows; 0 marks a
missing reading. ``adj_mx.pkl`` is a pickle of Python 2: sensor ids, id -> position, weights
exp(-d^2 / s^2) cut at 0.1 over driving distances, which differ by direction; our graphs are
undirected, so the nearer direction counts (the symmetric matrix that T-GCN publishes is the same to
5e-10). Split 83/12/24 days, 70/10/20 % as DCRNN's. Published by Li, Yu, Shahabi and Liu with DCRNN:
the graph is beside their code, the readings are in a folder that only people can download from, so
the download is the copy of GCGRNN.
"""

from __future__ import annotations

from typing import Final

from core.datasets.published.form import Download, PublishedDataset, PublishedFile

METR_LA: Final = PublishedDataset(
    name="metr-la",
    about="speed, Los Angeles, March to June 2012",
    page="https://github.com/liyaguang/DCRNN",
    num_sensors=207,
    readings=PublishedFile(
        ("metr-la.h5", "METR-LA.h5"),
        Download(
            "metr-la.h5",
            "https://raw.githubusercontent.com/leilin-research/GCGRNN/"
            "c44f9e255bcd65ebbcdc6e63beeb12d79161402a/data/METR-LA_traffic_speed/metr-la.h5",
            "git:7df0003054d1bccd255d38949b2ef011dcadad3f",
        ),
    ),
    graph=PublishedFile(
        ("adj_mx.pkl", "adj_METR-LA.pkl"),
        Download(
            "adj_mx.pkl",
            "https://raw.githubusercontent.com/liyaguang/DCRNN/"
            "602afd9d767d3aa1c9b3eac51710d6aeee12c227/data/sensor_graph/adj_mx.pkl",
            "sha256:a35687c6e15aa228dc45027b0ed2a0ea0f4ec78f573deb992c595092d12f61b3",
            680_459,
        ),
    ),
    graph_kind="adjacency",
    split=(83, 12, 24),
    day_kind="consecutive",
    places="graph_sensor_locations.csv",
    settings={"missing_value": 0.0, "asymmetric": "nearer"},
)
