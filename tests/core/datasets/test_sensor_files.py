from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from core.datasets.dataset import read_card
from core.datasets.importing import ImportRequest, import_dataset
from core.datasets.sensor_files import read_places
from core.datasets.sensor_places import SensorPlace
from core.errors import DatasetError

PEMS = (
    "ID\tFwy\tDir\tDistrict\tCounty\tCity\tState_PM\tAbs_PM\tLatitude\tLongitude\tLength\tType\t"
    "Lanes\tName\tUser_ID_1\tUser_ID_2\tUser_ID_3\tUser_ID_4\n"
    "715898\t5\tS\t7\t37\t40252\t.71\t116.86\t33.880183\t-118.021787\t0.430\tML\t3\tPHOEBE\t1\t\t\t\n"
    "715899\t5\tS\t7\t37\t40252\t.71\t116.86\t\t\t0.430\tOR\t1\tPHOEBE, ON\t1\t\t\t\n"
    "715900\t110\tN\t7\t37\t44000\t21.9\t21.9\t34.05\t-118.25\t0.5\tML\t4\t\t1\t\t\t\n"
)


def written(folder: Path, text: str) -> Path:
    path = folder / "sensors.csv"
    path.write_text(text)
    return path


def test_station_files_of_pems(tmp_path: Path) -> None:
    places = read_places(written(tmp_path, PEMS), ("715900", "715898", "715899"))
    assert places == (
        SensorPlace("", "110", "N", 34.05, -118.25),
        SensorPlace("PHOEBE", "5", "S", 33.880183, -118.021787),
        SensorPlace("PHOEBE, ON", "5", "S", None, None),
    )
    assert [place.label for place in places] == ["110 N", "PHOEBE, 5 S", "PHOEBE, ON, 5 S"]
    assert [place.known for place in places] == [True, True, False]


def test_locations_of_metr_la(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "index,sensor_id,latitude,longitude\n0,77,34.15,-118.3\n1,76,34.11,-118.2\n",
    )
    assert read_places(path, ("76", "77"))[0] == SensorPlace("", "", "", 34.11, -118.2)


def test_rows_of_readings_without_ids_are_in_the_order_of_columns(tmp_path: Path) -> None:
    path = written(
        tmp_path, ",ID,Fwy,Dir,Latitude,Longitude\n0,719,5,S,34.0,-118\n1,75,5,N,34,-117\n"
    )
    assert [place.name for place in read_places(path, ("0", "1"))] == ["719", "75"]
    with pytest.raises(DatasetError, match=r"a row for each of the 3 columns .* but has 2"):
        read_places(path, ("0", "1", "2"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("id,latitude\na,1\nb,2\n", "must have a column longitude, but its columns are id, latit"),
        ("sensor,lat,lon\na,1,2\nbb,2,2\n", "has none for 'b'; did you mean 'bb'"),
        ("id,lat,lon\na,1,2\nb,91,2\n", r"within 90 degrees, but .* row 3, column 2 .*holds '91'"),
        ("id,lat,lon\na,1,x\nb,1,2\n", r"within 180 degrees, but .* row 2, .*holds 'x'; correct"),
        ("id,lat,lon\na,1,2\na,1,2\nb,1,2\n", "'a' is there twice"),
    ],
)
def test_a_file_that_does_not_fit(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(DatasetError, match=says):
        read_places(written(tmp_path, text), ("a", "b"))


@pytest.fixture
def request_fields(tmp_path: Path) -> dict[str, object]:
    readings = np.random.default_rng(0).normal(60, 5, (3 * 96, 2)).round(1)
    np.savetxt(tmp_path / "r.csv", readings, "%.1f", ",", header="a,b", comments="")
    (tmp_path / "d.csv").write_text("0,900\n900,0\n")
    return {
        "name": "mine",
        "readings": tmp_path / "r.csv",
        "distances": tmp_path / "d.csv",
        "interval_minutes": 15,
        "split": (1, 1, 1),
    }


def test_places_travel_with_a_dataset_and_may_come_later(
    tmp_path: Path, request_fields: dict[str, object]
) -> None:
    plain = import_dataset(tmp_path / "data", ImportRequest(**request_fields))  # type: ignore[arg-type]
    assert plain.card.places == ()
    assert not plain.card.places_known
    sensors = written(tmp_path, "id,name,lat,lon\nb,Bell St,34,-118\na,,33.5,-118\n")
    later = ImportRequest(**request_fields, sensors=sensors)  # type: ignore[arg-type]
    named = import_dataset(tmp_path / "data", later)
    assert [place.name for place in named.card.places] == ["", "Bell St"]
    assert named.card.places_known
    assert named.fingerprint == plain.fingerprint
    assert read_card(tmp_path / "data" / "mine") == named.card
    # Without the file they stay; in another data folder they are there at once.
    again = import_dataset(tmp_path / "data", ImportRequest(**request_fields))  # type: ignore[arg-type]
    assert again.card.places == named.card.places
    assert import_dataset(tmp_path / "other", later).card == named.card


def test_a_card_with_places_of_some_sensors_is_refused(
    tmp_path: Path, request_fields: dict[str, object]
) -> None:
    import_dataset(tmp_path, ImportRequest(**request_fields))  # type: ignore[arg-type]
    path = tmp_path / "mine" / "card.json"
    card = json.loads(path.read_text())
    path.write_text(json.dumps({**card, "places": [{"latitude": 1.0, "longitude": 2.0}]}))
    with pytest.raises(DatasetError, match="places of all 2 sensors or of none, got 1"):
        read_card(tmp_path / "mine")


@pytest.mark.real_data
def test_public_files(real_data_folder: Path) -> None:
    folder = real_data_folder / "metr-la"
    ids = (folder / "graph_sensor_ids.txt").read_text().strip().split(",")
    places = read_places(folder / "graph_sensor_locations.csv", ids)
    assert len(places) == 207
    assert all(33.9 < place.latitude < 34.3 for place in places if place.latitude)
    stations = real_data_folder / "pemsd7-m" / "PeMSD7_M_Station_Info.csv"
    places = read_places(stations, [str(column) for column in range(228)])
    assert places[0] == SensorPlace("716939", "5", "S", 34.041407, -118.218373)
