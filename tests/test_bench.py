"""The scripts of bench/: each can start, the page shows their results, contestants of other sizes do not race."""

import importlib.util
import json

import pytest

from peers import BENCH, bench


@pytest.fixture(scope="module")
def script():
    """bench/peers.py, which has the name of a file of the tests."""
    spec = importlib.util.spec_from_file_location("bench_peers", BENCH / "peers.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_shows_the_results(script):
    results = json.loads(script.RESULTS.read_text())
    shown = script.PAGE.read_text().split(script.BEGIN)[1].split(script.END)[0]
    assert script.table(results["rows"]) in shown
    assert set(script.PEERS) <= set(results["versions"]) and "/" not in "".join(results["versions"].values())
    assert {row["group"] for row in results["rows"]} == set(script.BARS)
    for row in results["rows"]:
        if "parameters" in row:
            assert abs(row["parameters"][0] / row["parameters"][1] - 1) < 0.02


@pytest.mark.parametrize("path", sorted(BENCH.glob("*.py")), ids=lambda path: path.stem)
def test_every_script_starts_and_its_bars_are_in_the_readme(path, monkeypatch, capsys):
    spec = importlib.util.spec_from_file_location(f"bench_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    described = [line for line in (BENCH / "README.md").read_text().splitlines() if f"`{path.name}`" in line]
    assert described and all(f"`{bar}`" in described[0] for bar in getattr(module, "BARS", ()))
    if hasattr(module, "main") and "argparse" in path.read_text():
        monkeypatch.setattr("sys.argv", [path.name, "--help"])
        with pytest.raises(SystemExit) as ended:
            module.main()
        assert ended.value.code == 0 and capsys.readouterr().out.startswith("usage")
    assert f'measure("{path.stem}"' in path.read_text() or not hasattr(module, "BARS")


def test_contestants_are_of_one_size_and_take_turns(monkeypatch):
    contests = bench("contestants")
    assert contests.matched({"pofx": 100, "other": 101})
    with pytest.raises(SystemExit, match="more than 2 % apart"):
        contests.matched({"pofx": 100, "other": 110})
    turns = []
    lines, both = bench("harness"), {"pofx": lambda: turns.append(0), "other": lambda: turns.append(1)}
    found = lines.in_turn(both, 3)
    assert turns == [*[0] * 5, *[1] * 5] * 5 and found["other"].shape == (3, 2)
    turns.clear()
    monkeypatch.setattr(lines, "TURN", 0.0)  # a call that takes longer than a turn
    lines.in_turn(both, 1)
    assert turns == [0, 1] * 3
