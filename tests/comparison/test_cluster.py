"""A comparison over a Ray cluster of two workers: the same jobs and results, and a crash that costs one row."""

import numpy as np
import pytest

from pofx.comparison import cluster
from pofx.comparison.compare import compare
from pofx.comparison.jobs import Job
from pofx.core.errors import UsageError
from pofx.core.representation import Items

ray = pytest.importorskip("ray", reason="the engine 'ray' needs Ray (extra: cluster)")


@pytest.fixture
def two_workers(monkeypatch, tmp_path_factory):
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path_factory.mktemp("ray")))
    head = {"num_cpus": 1, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args=head)
    made.add_node(num_cpus=1)
    ray.init(address=made.address, log_to_driver=False)
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_workers_do_what_one_process_does(two_workers, tmp_path):
    points = Items("points", np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32))
    asked = {"models": ["realnvp"], "budget": "3 steps", "seeds": 1}
    near = compare(points, out=tmp_path / "local", **asked).results
    far = compare(points, out=tmp_path / "ray", engine="ray", **asked)
    for a, b in zip(near["rows"], far.results["rows"], strict=True):
        assert a["name"] == b["name"] and b["runs"][0]["status"] == "done"
        values = [
            {(m["metric"], m["space"]): m["value"] for m in r["runs"][0]["measurements"] if "second" not in m["metric"]}
            for r in (a, b)
        ]
        assert values[0] == pytest.approx(values[1], rel=1e-3, abs=1e-6, nan_ok=True)
    assert (tmp_path / "ray" / "spaces").exists() and far.report.exists()
    assert sum(node["Alive"] for node in ray.nodes()) == 2
    (tmp_path / "ray" / "gmm-seed0" / "result.json").unlink()
    before = (tmp_path / "ray" / "realnvp-seed0" / "result.json").stat().st_mtime_ns
    compare(points, out=tmp_path / "ray", engine="ray", **asked)
    assert (tmp_path / "ray" / "realnvp-seed0" / "result.json").stat().st_mtime_ns == before
    assert (tmp_path / "ray" / "gmm-seed0" / "result.json").exists()
    failed = compare(points, out=tmp_path / "ray2", engine="ray", memory_limit="0.05GB", **asked).results
    assert {run["status"] for row in failed["rows"] for run in row["runs"]} == {"failed"}
    assert "its limit is 0.05 GB" in failed["rows"][0]["runs"][0]["reason"]


def test_folders_travel_whole(tmp_path):
    (tmp_path / "a" / "data").mkdir(parents=True)
    (tmp_path / "a" / "data" / "x.bin").write_bytes(b"123")
    (tmp_path / "a" / "checkpoints").mkdir()
    (tmp_path / "a" / "checkpoints" / "large").write_text("stays")
    (tmp_path / "a" / "top.json").write_text("{}")
    cluster.unpack(cluster.packed(tmp_path / "a"), tmp_path / "b")
    assert sorted(p.name for p in (tmp_path / "b").rglob("*")) == ["data", "top.json", "x.bin"]
    cluster.unpack(cluster.packed(tmp_path / "a", ["data"]), tmp_path / "c")
    assert sorted(p.name for p in (tmp_path / "c").rglob("*")) == ["data", "x.bin"]


def test_a_job_is_known_by_its_name_and_an_unknown_engine_is_refused(tmp_path):
    assert Job("nsf", 1, {"width": 3}, 2).name == "nsf-trial2" and len({Job("nsf", 1), Job("nsf", 1)}) == 1
    with pytest.raises(UsageError, match="did you mean ray"):
        compare("digits", models=["nsf"], out=tmp_path, engine="rey")
