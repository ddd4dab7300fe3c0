"""Every command answers three mistakes of its user's or more in one line, and writes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from core.datasets.synthetic import build_synthetic
from hpo.cli.main import app, run
from tests.folder_contents import contents
from tests.small_sweeps import make_sweep, record

Output = pytest.CaptureFixture[str]
LEAST = 3

MISTAKES = [
    ("teacher", "nowhere", "unknown dataset 'nowhere'"),
    ("teacher", "small --epochs 0", "epochs must be"),
    ("teacher", "small --epochs many", "'many'"),
    ("teacher", "small --form other", "unknown form 'other'"),
    ("teacher", "small --from-sweep frist", "unknown sweep 'frist'; did you mean 'first'"),
    ("sweep", "orb --dataset small", "unknown method 'orb'; did you mean 'ord'"),
    ("sweep", "ord --dataset smal", "unknown dataset 'smal'; did you mean 'small'"),
    ("sweep", "none --dataset small --trials 0", "trials must be"),
    ("sweep", "none --dataset small --name ../out", "'../out'"),
    ("sweep", "none --dataset small --sampler tpee", "did you mean 'tpe'"),
    ("sweep", "none --dataset small --set batch_size=no", "batch_size"),
    ("resume", "frist", "unknown sweep 'frist'; did you mean 'first'"),
    ("resume", "first --trials one", "'one'"),
    ("resume", "first --time-budget soon", "a time such as 2h, 90m or 1h30m, got 'soon'"),
    ("clone", "frist --name other", "unknown sweep 'frist'; did you mean 'first'"),
    ("clone", "first --name first", "first"),
    ("clone", "first --name ../out", "'../out'"),
    ("clone", "first --name other --set speed=2", "unknown setting 'speed'"),
    ("status", "frist", "unknown sweep 'frist'; did you mean 'first'"),
    ("status", "first --format xml", "'xml'"),
    ("status", "first --sections nothing", "sections"),
    ("study", "frist --to study.db", "unknown sweep 'frist'; did you mean 'first'"),
    ("study", "first", "--to"),
    ("study", "first --to study.db", "needs a trial that ended"),
    ("trial", "frist 0", "unknown sweep 'frist'; did you mean 'first'"),
    ("trial", "first 9", "9"),
    ("trial", "first zero", "'zero'"),
    ("best", "--dataset nowhere", "nowhere"),
    ("best", "", "--dataset"),
    ("best", "--dataset small --top 0", "must be at least 1, got 0"),
    ("confirm", "frist", "unknown sweep 'frist'; did you mean 'first'"),
    ("confirm", "first --top 0", "--top of at least 1"),
    ("confirm", "first --seeds 0", "--seeds of at least 2"),
    ("export", "", "either the name of a sweep or --dataset"),
    ("export", "first --top 0", "--top must be at least 1, got 0"),
    ("export", "frist", "unknown sweep 'frist'; did you mean 'first'"),
    ("export", "first --web-runtime package.tgz", "--web-runtime is for --web"),
    ("export", "--verify nowhere", "nowhere"),
    ("evaluate", "nowhere --readings r.csv", "nowhere"),
    ("evaluate", "nowhere", "--readings"),
    ("evaluate", "nowhere --readings r.csv --format xml", "'xml'"),
    ("forecast", "nowhere --readings r.csv", "nowhere"),
    ("forecast", "nowhere", "--readings"),
    ("forecast", "nowhere --readings r.csv --format xml", "'xml'"),
    ("serve", "nowhere", "nowhere"),
    ("serve", "nowhere --port 70000", "port"),
    ("serve", "nowhere --token a\u00a0b", "--token"),
    ("profile", "nowhere", "nowhere"),
    ("profile", "", "EXPORT"),
    ("profile", "nowhere --format xml", "'xml'"),
    ("report", "frist", "unknown sweep 'frist'; did you mean 'first'"),
    ("report", "", "NAME"),
    ("report", "first frist", "unknown sweep 'frist'; did you mean 'first'"),
    ("reproduce", "11 --dataset small", "unknown table '11'"),
    ("reproduce", "2", "--dataset"),
    ("reproduce", "2 --dataset small --seeds 1", "seeds"),
    ("archive", "frist", "unknown sweep 'frist'; did you mean 'first'"),
    ("archive", "", "'name'"),
    ("archive", "../out", "'../out'"),
    ("unarchive", "nowhere.tar", "nowhere.tar"),
    ("unarchive", "", "FILE"),
    ("unarchive", "nowhere.tar more", "more"),
    ("delete", "frist --yes", "unknown sweep 'frist'; did you mean 'first'"),
    ("delete", "first", "--yes"),
    ("delete", "", "'name'"),
    ("mcp", "--allow-everything", "--allow-everything"),
    ("mcp", "more", "more"),
    ("mcp", "--storage", "--storage"),
    ("data list", "more", "more"),
    ("data list", "--format xml", "'xml'"),
    ("data list", "--data", "--data"),
    ("data check", "smal", "unknown dataset 'smal'; did you mean 'small'"),
    ("data check", "", "'name'"),
    ("data check", "../out", "'../out'"),
    ("data fetch", "nowhere", "nowhere"),
    ("data fetch", "", "NAME"),
    ("data fetch", "metr-la --format xml", "'xml'"),
    ("data import", "mine --readings r.csv", "--distances"),
    ("data import", "../out --readings r.csv --distances d.csv", "'../out'"),
    ("data import", "mine --readings nothing.csv --distances d.csv", "nothing.csv"),
    ("data import", "mine {ready} --split 9/9/9", "9/9/9"),
    ("data import", "mine {ready} --sensors nothing.csv", "nothing.csv"),
    ("data import", "mine {ready} --sensors d.csv", "must have a column id"),
    ("data import", "mine {ready} --sensors few.csv", "must have a row for"),
    ("data import", "mine {ready} --sensors far.csv", "within 90 degrees"),
]
"""A command, its arguments, and a part of the answer."""
READY = "--readings r.csv --distances d.csv --interval 60 --days consecutive --split 1/1/1"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the dataset ``small``, the sweep ``first``, and files to import."""
    folder = tmp_path_factory.mktemp("mistakes")
    build_synthetic(folder / "data" / "small", seed=1, num_sensors=4, split=(2, 1, 1))
    make_sweep(folder / "runs", [record(0, 1.0)])
    rows = "\n".join(f"{50 + row % 7},{40 + row % 5}" for row in range(72))
    (folder / "r.csv").write_text(f"a,b\n{rows}\n")
    (folder / "d.csv").write_text("0,900\n900,0\n")
    (folder / "few.csv").write_text("id,lat,lon\na,34,-118\n")
    (folder / "far.csv").write_text("id,lat,lon\na,34,-118\nb,134,-118\n")
    return folder


@pytest.fixture(autouse=True)
def there(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setenv("HPO_DATA", str(place / "data"))
    monkeypatch.setenv("HPO_STORAGE", str(place / "runs"))


def commands(group: object, before: tuple[str, ...] = ()) -> Iterator[str]:
    for name, one in group.commands.items():  # type: ignore[attr-defined]
        if hasattr(one, "commands"):
            yield from commands(one, (*before, name))
        else:
            yield " ".join((*before, name))


def test_every_command_has_its_mistakes() -> None:
    counts = Counter(command for command, _, _ in MISTAKES)
    known = set(commands(typer.main.get_command(app)))
    assert set(counts) == known
    assert {command: count for command, count in counts.items() if count < LEAST} == {}


@pytest.mark.parametrize(
    ("command", "arguments", "says"), MISTAKES, ids=[f"{one} {rest}" for one, rest, _ in MISTAKES]
)
def test_a_mistake_is_one_line_and_changes_nothing(
    place: Path, capsys: Output, command: str, arguments: str, says: str
) -> None:
    before = contents(place)
    given = arguments.replace("{ready}", READY).split(" ") if arguments else []
    assert run([*command.split(), *given]) == 2
    answer = capsys.readouterr()
    assert answer.out == ""
    assert answer.err.startswith("hpo: ")
    assert answer.err.count("\n") == 1
    assert says in answer.err
    assert contents(place) == before
