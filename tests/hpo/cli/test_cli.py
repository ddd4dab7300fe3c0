"""The command ``hpo``: quick help, exit codes, JSON alone on standard output, one-line errors."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest

from core.errors import ConfigError
from hpo.cli import main as command_line
from hpo.cli.main import run
from hpo.planning.places import Places
from hpo.planning.sweep_planning import plan_sweep
from hpo.records.ledger import Ledger
from hpo.records.sweep_folder import SweepFolder
from hpo.space.search_space import built_in_search_space
from hpo.sweep_config import SweepConfig
from tests.small_sweeps import make_sweep, record

ROOT = Path(__file__).parents[2]
HEAVY = ("ray", "torch", "optuna", "pandas", "pyarrow")
LOADED = f"""
import sys
from hpo.cli.main import run
code = run(sys.argv[1:])
print(*sorted(set({HEAVY}) & set(sys.modules)), file=sys.stderr)
sys.exit(code)
"""
CAN_FAIL = LOADED.replace("import sys\n", "import sys, optuna\n", 1)
Output = pytest.CaptureFixture[str]


def in_a_process(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("command", [[], ["resume"], ["clone"], ["status"], ["teacher"], ["data"]])
def test_help_loads_nothing_heavy(command: list[str]) -> None:
    done = in_a_process("-c", LOADED, *command, "--help")
    assert done.returncode == 0
    assert done.stderr.split() == []
    assert "Usage: hpo" in done.stdout


def test_help_of_a_sweep_loads_only_what_its_registries_need() -> None:
    done = in_a_process("-c", LOADED, "sweep", "--help")
    assert done.returncode == 0
    assert not {"ray", "optuna", "pandas"} & set(done.stderr.split())


@pytest.mark.parametrize("command", [["status"], ["status", "first"], ["best", "--dataset=small"]])
def test_answers_from_records_need_no_torch(tmp_path: Path, command: list[str]) -> None:
    make_sweep(tmp_path, [record(0, 1.0)])
    done = in_a_process("-c", LOADED, *command, "--storage", str(tmp_path), "--format", "json")
    assert done.returncode == 0
    assert not {"ray", "torch", "optuna", "pandas"} & set(done.stderr.split())


def test_that_check_can_fail() -> None:
    assert "optuna" in in_a_process("-c", CAN_FAIL, "--help").stderr.split()


def test_help_names_every_command(capsys: Output) -> None:
    assert run(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in ("data", "teacher", "sweep", "resume", "status"))


@pytest.mark.parametrize("group", [[], ["data"]])
def test_lists_of_commands_are_not_cut(capsys: Output, group: list[str]) -> None:
    assert run([*group, "-h"]) == 0
    short = capsys.readouterr().out
    assert run([*group, "--help"]) == 0
    assert capsys.readouterr().out == short
    assert "..." not in short.partition("Commands:")[2]
    assert len(short.partition("Commands:")[2].splitlines()) > 4


@pytest.mark.parametrize("command", ["teacher", "sweep", "evaluate"])
def test_every_command_takes_the_short_option_for_help(capsys: Output, command: str) -> None:
    assert run([command, "-h"]) == 0
    assert capsys.readouterr().out.startswith(f"Usage: hpo {command}")


def test_version(capsys: Output) -> None:
    assert run(["--version"]) == 0
    assert tuple(capsys.readouterr()) == (f"hpo {version('stgcn-student-search')}\n", "")


@pytest.mark.parametrize(
    ("words", "offered"),
    [("hpo stu", ["study"]), ("hpo data fe", ["fetch"]), ("hpo sweep --targ", ["--targets"])],
)
def test_a_shell_completes_commands_and_options(
    monkeypatch: pytest.MonkeyPatch, capsys: Output, words: str, offered: list[str]
) -> None:
    monkeypatch.setenv("_HPO_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    with pytest.raises(SystemExit) as ended:
        run([])
    assert ended.value.code == 0
    out = capsys.readouterr().out.split()
    assert [word[: len(wanted)] for word, wanted in zip(out, offered, strict=True)] == offered


@pytest.mark.parametrize("group", [[], ["data"]])
def test_a_group_without_a_command_shows_its_help(capsys: Output, group: list[str]) -> None:
    assert run(group) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(" ".join(["Usage: hpo", *group]))
    assert len(err.splitlines()) > 5


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ConfigError("learning_rate must be positive"), 2, "hpo: learning_rate must be positive\n"),
        (KeyboardInterrupt(), 130, "hpo: interrupted\n"),
    ],
)
def test_errors_become_exit_codes(
    monkeypatch: pytest.MonkeyPatch,
    capsys: Output,
    error: BaseException,
    code: int,
    line: str,
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("hpo.records.sweep_folder.all_sweeps", fail)
    assert run(["status"]) == code
    assert tuple(capsys.readouterr()) == ("", line)


def test_main_exits_with_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["hpo", "statu"])
    with pytest.raises(SystemExit) as caught:
        command_line.main()
    assert caught.value.code == 2


@pytest.fixture
def storage(tmp_path: Path, small_data: Path) -> Path:
    """Two sweeps: ``night`` stopped with one trial of each kind, ``day`` complete."""
    storage = tmp_path / "runs"
    places = Places(small_data, storage)
    for name, trials in (("night", 5), ("day", 1)):
        folder = SweepFolder(storage / name)
        config = SweepConfig(name, "none", "small", trials=trials, epochs=3)
        folder.write_plan(plan_sweep(config, places)[0])
        ledger = Ledger(folder.ledger_file)
        for trial, status in enumerate(["finished", "pruned", "failed", "running"][:trials]):
            ledger.append("suggested", trial=trial, settings={"batch_size": 16}, seed=trial)
            metrics = {"val_mae": 2.0 + trial}
            ledger.append("epoch", trial=trial, epoch=1, metrics=metrics)
            if status != "running":
                reason = "too hot" if status == "failed" else None
                ledger.append("ended", trial=trial, status=status, metrics=metrics, reason=reason)
        ledger.close()
    return storage


def status(storage: Path, *arguments: str) -> int:
    return run(["status", *arguments, "--storage", str(storage)])


def test_status_of_one_sweep_as_json(storage: Path, capsys: Output) -> None:
    assert status(storage, "night", "--format", "json") == 0
    out, err = capsys.readouterr()
    assert err == ""
    answer = json.loads(out)
    counts = {key: answer[key] for key in ("finished", "pruned", "failed", "running", "trials")}
    assert counts == {"finished": 1, "pruned": 1, "failed": 1, "running": 1, "trials": 5}
    assert (answer["state"], answer["best"], answer["best_trial"]) == ("stopped", 2.0, 0)
    assert [trial["status"] for trial in answer["details"]] == [
        "finished",
        "pruned",
        "failed",
        "running",
    ]


def test_status_of_all_sweeps(storage: Path, capsys: Output) -> None:
    assert status(storage, "--format", "json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert [(sweep["sweep"], sweep["state"]) for sweep in answer] == [
        ("day", "complete"),
        ("night", "stopped"),
    ]
    assert status(storage) == 0
    text = capsys.readouterr().out
    assert "night" in text
    assert "complete" in text


def test_status_says_how_to_go_on(storage: Path, capsys: Output) -> None:
    assert status(storage, "night") == 0
    text = capsys.readouterr().out
    assert "night is stopped: 3 of 5 trials ended (1 pruned, 1 failed)" in text
    assert "next: hpo resume night" in text
    assert "too hot" in text


def test_status_sees_a_driver(storage: Path, capsys: Output) -> None:
    with SweepFolder(storage / "night").driver_lock():
        assert status(storage, "night", "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)["state"] == "running"


def test_status_reads_only(storage: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in storage.rglob("*")}
    assert status(storage) == status(storage, "night") == 0
    assert {path: path.stat().st_mtime_ns for path in storage.rglob("*")} == before


def test_status_without_any_sweep(tmp_path: Path, capsys: Output) -> None:
    assert status(tmp_path / "runs") == 0
    assert "no sweep yet" in capsys.readouterr().out
    assert status(tmp_path / "runs", "--format", "json") == 0
    assert json.loads(capsys.readouterr().out) == []
    assert not (tmp_path / "runs").exists()


@pytest.fixture
def dry(tmp_path: Path, small_data: Path) -> list[str]:
    """A dry run on ``small``, without a storage yet."""
    places = ["--data", str(small_data), "--storage", str(tmp_path / "runs")]
    return ["sweep", "scd", "--dataset", "small", "--dry-run", "--pairs", "9", *places]


def test_a_dry_run_prints_the_plan_and_writes_nothing(
    dry: list[str], tmp_path: Path, capsys: Output
) -> None:
    assert run([*dry, "--set", "batch_size=50", "--format", "json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    plan = json.loads(out)
    assert plan["space"]["parameters"]["batch_size"]["choices"] == [50]
    assert (plan["sweep"]["method"], plan["sweep"]["pairs"]) == ("scd", 9)
    assert plan["sweep"]["name"].startswith("scd-small-")
    assert plan["trials_at_once"] >= 1
    assert plan["expected_seconds"] is None
    assert list(tmp_path.iterdir()) == []


def test_the_sampler_that_auto_chose_is_said(dry: list[str], capsys: Output) -> None:
    assert run([*dry, "--trials", "200", "--sampler", "auto", "--format", "json"]) == 0
    out, err = capsys.readouterr()
    assert err == "sampler tpe, as gp takes long for more than 100 trials\n"
    assert json.loads(out)["sweep"]["sampler"] == "tpe"


def test_a_dry_run_answers_people_with_a_table(
    dry: list[str], tmp_path: Path, capsys: Output
) -> None:
    done = record(0, 1.0, method="scd", form="direct", seconds=6.0, epochs=3)
    plan = plan_sweep(SweepConfig("x", "scd", "small"), Places(Path(dry[8]), tmp_path))[0]
    make_sweep(tmp_path / "runs", [replace(done, dataset_fingerprint=plan.dataset_fingerprint)])
    assert run([*dry, "--trials", "4", "--max-concurrent", "1", "--epochs", "10"]) == 0
    rows = dict(re.split(r"  +", line.strip(), maxsplit=1) for line in plan_rows(capsys))
    assert rows["trials"] == "4, at most 10 epochs each, 1 at once"
    assert rows["teacher"] == "trained first; there is none yet"
    assert rows["trials take"] == "at most about 80 s"
    assert rows["alpha3"] == "0 to 1"


def plan_rows(capsys: Output) -> list[str]:
    title, *rows, last = capsys.readouterr().out.splitlines()
    assert title.startswith("plan of scd-small-")
    assert last == "everything is as it must be; nothing was run"
    return rows


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--cpus-per-trial", "4096"], "a trial needs 4096 CPUs and 0 GPUs, but the cluster has"),
        (["--gpus-per-trial", "64"], "a trial needs 1 CPUs and 64 GPUs, but the cluster has"),
        (["--address", "127.0.0.1:1"], "--address must be that of a running Ray cluster, got"),
    ],
)
def test_a_dry_run_looks_for_room(
    dry: list[str], tmp_path: Path, capsys: Output, options: list[str], said: str
) -> None:
    assert run([*dry, *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("module", "options"),
    [("torch.utils.tensorboard", ["--tensorboard"]), ("mlflow", ["--mlflow", "sqlite:///x.db"])],
)
def test_a_dry_run_misses_extras(
    dry: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Output, module: str, options: list[str]
) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    assert run([*dry, *options]) == 2
    assert f"hpo: {options[0]} needs the package" in capsys.readouterr().err


def test_a_misspelt_method_is_compared_with_methods_alone(capsys: Output) -> None:
    assert run(["sweep", "wdiths", "--dataset", "small"]) == 2
    said = capsys.readouterr().err
    assert "unknown method 'wdiths'" in said
    assert "widths" not in said
    assert run(["sweep", "ord", "--dataset", "small", "--space", "wdiths"]) == 2
    assert "unknown search space 'wdiths'; did you mean 'widths'?" in capsys.readouterr().err


def test_folders_may_come_from_the_environment(
    storage: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.setenv("HPO_STORAGE", str(storage))
    assert run(["status", "--format", "json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 2


@pytest.fixture
def weighed(tmp_path: Path, small_data: Path) -> Path:
    """A sweep of two objectives: trials 0, 2 and 3 finished, 1 too large; 0 beaten by 3."""
    storage = tmp_path / "runs"
    settings = {"objective": "val_mae,parameters", "max_parameters": 5000, "trials": 3}
    config = SweepConfig("wide", "stcd", "small", **settings)
    space = built_in_search_space("widths")
    folder = SweepFolder(storage / "wide")
    planned = plan_sweep(config, Places(small_data, storage), space)[0]
    folder.write_plan(replace(planned, reference={"val_mae": 10.0, "parameters": 10000}))
    ledger = Ledger(folder.ledger_file)
    for trial, (error, parameters) in enumerate([(5.0, 4000), (0, 9000), (2.0, 5000), (4.0, 3000)]):
        ledger.append("suggested", trial=trial, settings={"block1_out": trial}, seed=trial)
        status = "finished" if error else "infeasible"
        metrics = {"val_mae": error} if error else {}
        sizes = {"parameters": parameters, "flops": 7}
        reason = None if error else "9000 parameters exceed --max-parameters 5000"
        fields = {"status": status, "metrics": metrics, "sizes": sizes, "reason": reason}
        ledger.append("ended", trial=trial, **fields)
    ledger.close()
    return storage


def test_status_shows_front_and_hypervolume(weighed: Path, capsys: Output) -> None:
    assert status(weighed, "wide", "--format", "json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["state"], answer["infeasible"], answer["finished"]) == ("complete", 1, 3)
    assert answer["pareto"] == [
        {"trial": 2, "val_mae": 2.0, "parameters": 5000.0},
        {"trial": 3, "val_mae": 4.0, "parameters": 3000.0},
    ]
    volume = answer["hypervolume"]
    assert volume["reference"] == {"val_mae": 10.0, "parameters": 10000}
    assert [entry["trial"] for entry in volume["history"]] == [0, 2, 3]
    shares = [entry["share"] for entry in volume["history"]]
    # 0.5 x 0.6; then 0.8 x 0.5 beside it; then 0.6 x 0.7 over the first.
    assert shares == pytest.approx([0.30, 0.45, 0.52])
    assert status(weighed, "wide") == 0
    text = capsys.readouterr().out
    assert "Pareto front" in text
    assert "hypervolume 0.5200" in text
    assert "3 of 3 trials ended (0 pruned, 0 failed); 1 beyond limits" in text


def test_a_command_names_options_and_python_arguments(
    capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.errors._options_named", False)
    assert run(["export"]) == 2
    assert "either the name of a sweep or --dataset" in capsys.readouterr().err
    with pytest.raises(ConfigError, match=r"^max_parameters must be at least 1, got 0$"):
        SweepConfig("mine", "ord", "small", max_parameters=0)
