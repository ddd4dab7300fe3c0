"""Describe PeMSD7(M): the readings of the STGCN paper, and of ours.

Speeds in mph of 228 stations of Caltrans District 7 (Los Angeles), a row per 5 minutes of the 44
weekdays of May and June 2012: 12,672 rows. ``V_228.csv`` holds them without a header,
``W_228.csv`` the stations' distances in metres [228, 228]. No gaps (filled by the publishers); day
19 is Memorial Day; 34 pairs of stations share a place. Days are not consecutive, so no window
crosses a midnight. Split 34/5/5 days, as the STGCN authors. Published by Yu, Yin and Zhu with their
code, in an archive beside the larger PeMSD7(L).
"""

from __future__ import annotations

from typing import Final

from core.datasets.published.form import Download, PublishedDataset, PublishedFile

_ARCHIVE = Download(
    "PeMSD7_Full.zip",
    "https://raw.githubusercontent.com/VeritasYin/STGCN_IJCAI-18/"
    "747007ab01d56762c1a6bad89b255700cedf204d/dataset/PeMSD7_Full.zip",
    "git:cdd7a6f80f6a33826bf25646e21d68cf0420b584",
)
PEMSD7_M: Final = PublishedDataset(
    name="pemsd7-m",
    about="speed, Los Angeles, weekdays of May and June 2012",
    page="https://github.com/VeritasYin/STGCN_IJCAI-18",
    num_sensors=228,
    readings=PublishedFile(("V_228.csv", "PeMSD7_V_228.csv"), _ARCHIVE),
    graph=PublishedFile(("W_228.csv", "PeMSD7_W_228.csv"), _ARCHIVE),
    graph_kind="distances",
    split=(34, 5, 5),
    day_kind="weekdays",
    places="PeMSD7_M_Station_Info.csv",
    settings={"header": "no"},
)
