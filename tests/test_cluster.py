"""cluster.yaml is what Ray's launcher takes and kuberay.yaml what KubeRay takes, as far as can be
told without a network."""

from __future__ import annotations

import copy
import re
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
FILES = ("cluster.yaml", "kuberay.yaml")
LAUNCHED = (ROOT / "cluster.yaml").read_text()
DOCUMENT = (ROOT / "docs" / "cluster.md").read_text()
RAY = re.search(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
ONE_GPU = {"CPU": 4, "GPU": 1}


@pytest.fixture
def config() -> dict[str, Any]:
    return yaml.safe_load(LAUNCHED)


@pytest.fixture
def kubernetes() -> dict[str, dict[str, Any]]:
    return {one["kind"]: one for one in yaml.safe_load_all((ROOT / "kuberay.yaml").read_text())}


def commands(config: dict[str, Any]) -> list[str]:
    """All that nodes are told to run."""
    return [line for key in config if key.endswith("_commands") for line in config[key]]


@pytest.mark.slow
def test_ray_accepts_it(config: dict[str, Any]) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(config)
    validate_config(prepared)
    assert set(prepared["available_node_types"]) == {"head", "gpu_worker"}
    # Nothing that Ray fills in by itself replaces what is said here.
    for key in config.keys() - {"available_node_types", "head_setup_commands"}:
        assert prepared[key] == config[key], key
    assert prepared["head_setup_commands"] == [
        *config["setup_commands"],
        *config["head_setup_commands"],
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("place", "key"), [((), "max_wokers"), (("auth",), "user")])
def test_ray_would_refuse_an_unknown_key(
    config: dict[str, Any], place: tuple[str, ...], key: str
) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    wrong = prepare_config(copy.deepcopy(config))
    inner = wrong
    for name in place:
        inner = inner[name]
    inner[key] = "x"
    with pytest.raises(Exception, match=key):
        validate_config(wrong)


@pytest.mark.slow
def test_the_autoscaler_adds_workers_for_waiting_trials_up_to_the_limit(
    config: dict[str, Any],
) -> None:
    from ray.autoscaler._private.resource_demand_scheduler import ResourceDemandScheduler
    from ray.autoscaler._private.util import prepare_config

    prepared = prepare_config(config)
    scheduler = ResourceDemandScheduler(
        prepared["provider"],
        prepared["available_node_types"],
        prepared["max_workers"],
        prepared["head_node_type"],
        prepared["upscaling_speed"],
    )

    def asked(trials: int) -> int:
        wanted, _ = scheduler.get_nodes_to_launch(
            nodes=[],
            launching_nodes={"head": 1},
            resource_demands=[{"CPU": 1, "GPU": 0.25}] * trials,
            unused_resources_by_ip={},
            pending_placement_groups=[],
            max_resources_by_ip={},
            ensure_min_cluster_size=[{"CPU": 1, "GPU": 0.25}] * trials,
            node_availability_summary=None,
        )
        assert set(wanted) <= {"gpu_worker"}
        return int(wanted.get("gpu_worker", 0))

    assert asked(0) == asked(4) == 1
    assert asked(5) == 2
    assert asked(16) == asked(1000) == 4


def test_the_head_trains_nothing_and_one_spot_worker_is_always_there(
    config: dict[str, Any],
) -> None:
    types = config["available_node_types"]
    head, worker = types["head"], types["gpu_worker"]
    assert head["resources"] == {"CPU": 0}
    assert "InstanceMarketOptions" not in head["node_config"], "the search would go with its head"
    assert worker["resources"] == ONE_GPU
    assert worker["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert 1 <= worker["min_workers"] <= worker["max_workers"] <= config["max_workers"]
    assert config["head_node_type"] == "head"
    # Another Python or another driver on the workers than on the head would fail in the middle.
    assert head["node_config"]["ImageId"] == worker["node_config"]["ImageId"]


def test_clients_need_a_token_that_every_node_has(config: dict[str, Any]) -> None:
    starts = [line for line in commands(config) if "ray start" in line]
    assert len(starts) == 2
    assert all("RAY_AUTH_MODE=token ray start" in line for line in starts)
    # Where Ray looks for it by itself, without a variable that would show it in a process list.
    assert config["file_mounts"]["/home/ubuntu/.ray/auth_token"] == "~/.ray/auth_token"
    assert not re.search(r"RAY_AUTH_TOKEN\b", LAUNCHED)
    assert any("export" in line and "RAY_AUTH_MODE=token" in line for line in commands(config))


def test_no_port_is_open_to_the_world(config: dict[str, Any]) -> None:
    for kind in config["available_node_types"].values():
        # With none of the user's own, Ray makes a group that admits everybody to port 22.
        assert kind["node_config"]["SecurityGroupIds"]
    assert "security_group" not in config["provider"]
    assert "0.0.0.0" not in LAUNCHED
    (head,) = (line for line in config["head_start_ray_commands"] if "ray start" in line)
    assert "--dashboard-host=127.0.0.1" in head


def test_project_datasets_and_environment_reach_every_node(config: dict[str, Any]) -> None:
    (project,) = (remote for remote, local in config["file_mounts"].items() if local == ".")
    assert "data" not in config["rsync_exclude"]
    assert {"runs", ".venv", ".git"} <= set(config["rsync_exclude"])
    (installed,) = (line for line in commands(config) if "--editable" in line)
    assert "--constraint constraints.txt" in installed
    assert project == "/home/ubuntu/stgcn-student-search"
    (exported,) = (line for line in commands(config) if "HPO_CACHE=" in line)
    places = dict(re.findall(r"(HPO_\w+)=(\S+?)(?=[ '])", exported))
    assert places["HPO_DATA"] == "$HOME/stgcn-student-search/data"
    assert places["HPO_STORAGE"].startswith("/shared/")
    assert not places["HPO_CACHE"].startswith("/shared"), "a node's own disk"


def test_what_is_to_be_filled_in_is_marked_and_told() -> None:
    lines = [line for line in LAUNCHED.splitlines() if "FILL-IN" in line]
    assert len(lines) == 3
    assert all(line.endswith("# FILL IN") for line in lines)
    for placeholder in ("ami-FILL-IN", "sg-FILL-IN", "fs-FILL-IN"):
        assert placeholder in LAUNCHED
        assert placeholder in DOCUMENT


@pytest.mark.parametrize("name", FILES)
def test_every_line_is_explained(name: str) -> None:
    """A comment stands above each line or few lines that belong together."""
    since = 0
    for line in (ROOT / name).read_text().splitlines():
        text = line.strip()
        if "#" in text:
            since = 0
        elif text and not text.endswith(":") and not text.startswith(("---", "apiVersion", "kind")):
            since += 1
            assert since <= 4, f"{name}: {line!r} is far from any comment"


def test_kubernetes_runs_the_tested_version_of_ray_everywhere(
    kubernetes: dict[str, dict[str, Any]],
) -> None:
    assert RAY is not None
    spec = kubernetes["RayCluster"]["spec"]
    assert spec["rayVersion"] == RAY[1]
    images = {pod["containers"][0]["image"] for pod in pods(spec)}
    assert images == {f"stgcn-student-search:ray-{RAY[1]}"}
    assert images.pop() in DOCUMENT


def test_all_that_clusters_install_is_pinned() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {canonicalize_name(line.partition("==")[0]) for line in lines if "==" in line}
    needed = map(Requirement, requires("ray") or [])
    wanted = {
        canonicalize_name(one.name)
        for one in needed
        if one.marker is None or one.marker.evaluate({"extra": "default"})
    }
    assert len(wanted) > 12
    assert wanted - pinned == set()


def pods(spec: dict[str, Any]) -> list[dict[str, Any]]:
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


def test_kubernetes_gives_trials_the_same_room_as_the_launcher(
    kubernetes: dict[str, dict[str, Any]], config: dict[str, Any]
) -> None:
    spec = kubernetes["RayCluster"]["spec"]
    assert spec["enableInTreeAutoscaling"] is True
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    (worker,) = spec["workerGroupSpecs"]
    launched = config["available_node_types"]["gpu_worker"]
    assert worker["minReplicas"] == worker["replicas"] == launched["min_workers"]
    assert worker["maxReplicas"] == launched["max_workers"]
    limits = worker["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert (int(limits["cpu"]), int(limits["nvidia.com/gpu"])) == (4, 1)
    assert spec["autoscalerOptions"]["idleTimeoutSeconds"] == 60 * config["idle_timeout_minutes"]
    for pod in pods(spec):
        resources = pod["containers"][0]["resources"]
        assert resources["requests"] == resources["limits"]


def test_kubernetes_opens_nothing_and_asks_for_a_token(
    kubernetes: dict[str, dict[str, Any]],
) -> None:
    cluster = kubernetes["RayCluster"]
    assert cluster["apiVersion"] == "ray.io/v1"
    assert cluster["spec"]["authOptions"] == {"mode": "token"}
    assert cluster["spec"]["headGroupSpec"]["serviceType"] == "ClusterIP"
    text = (ROOT / "kuberay.yaml").read_text()
    assert not re.search(r"LoadBalancer|NodePort|hostNetwork|hostPort|kind: Ingress", text)
    policy = kubernetes["NetworkPolicy"]["spec"]
    own = {"matchLabels": {"ray.io/cluster": cluster["metadata"]["name"]}}
    assert policy["podSelector"] == own
    assert policy["ingress"] == [{"from": [{"podSelector": own}]}]
    for pod in pods(cluster["spec"]):
        assert pod["securityContext"]["runAsNonRoot"] is True


def test_kubernetes_pods_share_their_storage_and_keep_their_cache(
    kubernetes: dict[str, dict[str, Any]],
) -> None:
    claim = kubernetes["PersistentVolumeClaim"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    for pod in pods(kubernetes["RayCluster"]["spec"]):
        (container,) = pod["containers"]
        kinds = {volume["name"]: volume.keys() - {"name"} for volume in pod["volumes"]}
        (shared,) = (
            one["persistentVolumeClaim"] for one in pod["volumes"] if "persist" in str(one)
        )
        assert shared["claimName"] == claim["metadata"]["name"]
        mounted = {mount["mountPath"]: kinds[mount["name"]] for mount in container["volumeMounts"]}
        environment = {one["name"]: one["value"] for one in container["env"]}
        assert environment.keys() == {"HPO_DATA", "HPO_STORAGE", "HPO_CACHE"}
        for name, place in environment.items():
            wanted = {"emptyDir"} if name == "HPO_CACHE" else {"persistentVolumeClaim"}
            assert mounted[f"/{Path(place).parts[1]}"] == wanted
