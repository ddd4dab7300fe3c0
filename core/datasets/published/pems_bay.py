"""Describe PEMS-BAY: half a year of the San Francisco Bay Area.

Speeds in mph of 325 detectors of Caltrans District 4, 5 minutes, 1 January to 30 June 2017: 52,116
rows, which is 181 consecutive days less the hour that the clocks skip in March; that hour becomes a
gap. ``pems-bay.h5`` is a pandas frame with sensor ids as columns and times as rows; 0 marks a
missing reading. ``adj_mx_bay.pkl`` is a graph like METR-LA's. Split 127/18/36 days, 70/10/20 % as
DCRNN's. Published by Li, Yu, Shahabi and Liu with DCRNN; the readings also as record 4263971 of
Zenodo, whose checksum is used here.
"""

from __future__ import annotations

from typing import Final

from core.datasets.published.form import Download, PublishedDataset, PublishedFile

PEMS_BAY: Final = PublishedDataset(
    name="pems-bay",
    about="speed, San Francisco Bay Area, January to June 2017",
    page="https://zenodo.org/records/4263971",
    num_sensors=325,
    readings=PublishedFile(
        ("pems-bay.h5", "PEMS-BAY.h5"),
        Download(
            "pems-bay.h5",
            "https://zenodo.org/records/4263971/files/pems-bay.h5",
            "md5:bfa47e6ee7cc2d665e9b62c0c95c0b41",
        ),
    ),
    graph=PublishedFile(
        ("adj_mx_bay.pkl", "adj_PEMS-BAY.pkl"),
        Download(
            "adj_mx_bay.pkl",
            "https://raw.githubusercontent.com/liyaguang/DCRNN/"
            "602afd9d767d3aa1c9b3eac51710d6aeee12c227/data/sensor_graph/adj_mx_bay.pkl",
            "sha256:116275f5704d0d492018e14c047f7ae5004385b450aa907f88424055a4a97370",
            1_681_480,
        ),
    ),
    graph_kind="adjacency",
    split=(127, 18, 36),
    day_kind="consecutive",
    settings={"missing_value": 0.0, "asymmetric": "nearer", "fill_times": True},
)
