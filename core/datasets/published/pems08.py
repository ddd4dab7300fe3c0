"""Describe PEMS08 (PeMSD8): flow, occupancy and speed of San Bernardino.

170 detectors of Caltrans District 8, 5 minutes, 1 July to 31 August 2016: 62 days of 288 rows.
``pems08.npz`` holds one array ``data`` [17856, 170, 3]; ``distance.csv`` 295 rows ``from,to,cost``
of positions from 0 and metres. Days are consecutive, weekends included. The paper reports errors of
speed, so that is the default channel. Split 50/6/6 days. Published by Guo, Lin, Feng, Song and Wan
with ASTGCN.
"""

from __future__ import annotations

from typing import Final

from core.datasets.published.form import Download, PublishedDataset, PublishedFile

_FOLDER = (
    "https://raw.githubusercontent.com/wanhuaiyu/ASTGCN/"
    "86efe627f8d7a1d461be9446a3c9d0960c301d0b/data/PEMS08/"
)
PEMS08: Final = PublishedDataset(
    name="pems08",
    about="speed, flow or occupancy, San Bernardino, July and August 2016",
    page="https://github.com/wanhuaiyu/ASTGCN",
    num_sensors=170,
    readings=PublishedFile(
        ("pems08.npz", "PEMS08.npz"),
        Download(
            "pems08.npz", f"{_FOLDER}pems08.npz", "git:f5f3e84a00417573aa8487fe1e9e8cd13c6026c8"
        ),
    ),
    graph=PublishedFile(
        ("distance.csv", "PEMS08.csv"),
        Download(
            "distance.csv",
            f"{_FOLDER}distance.csv",
            "sha256:859d68e7583ed4e6016588eaaca494d3ece286dae361614c5c1833017f87eaa7",
            4032,
        ),
    ),
    graph_kind="edges",
    split=(50, 6, 6),
    day_kind="consecutive",
    channels={"speed": "mph", "flow": "vehicles/5min", "occupancy": "share"},
)
