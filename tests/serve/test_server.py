"""The server: what it returns is what the run returns, whatever else is computed with it; nothing makes it fail."""

import json
import socket
import threading
import time

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings

import pofx
from pofx.core.errors import PofxError, UsageError
from pofx.core.random import Joined, Streams
from pofx.drawing import Request, draw_each
from pofx.serve.server import app
from pofx.serve.work import Limits

schemathesis = pytest.importorskip("schemathesis")

JSON = {"Content-Type": "application/json"}
SMALL = Limits(items=50, batch=64, bytes=100_000, seconds=20, waiting=200)


@pytest.fixture(scope="module")
def runs():
    options = {"steps": 2, "batch_size": 32, "progress": False}
    words = pofx.texts(["abra", "kadabra", "ab"] * 20)
    return {
        "flow": pofx.fit("moons", model="nsf", width=16, bins=4, blocks=1, **options),
        "labels": pofx.fit("digits", model="made", condition="label", width=32, blocks=1, **options),
        "diffusion": pofx.fit("moons", model="flow-matching", width=16, depth=1, sampler_steps=4, **options),
        "text": pofx.fit(words, model="gpt", width=24, layers=1, heads=2, **options),
        "gan": pofx.fit("moons", model="gan", latent=4, width=32, units=32, **options),
    }


@pytest.fixture(scope="module")
def ask(runs):
    clients = {name: TestClient(app(run, limits=SMALL)) for name, run in runs.items()}
    yield lambda name: clients[name]
    for client in clients.values():
        client.app.state.batches.close()


def test_streams_of_several_seeds_are_those_of_each_alone():
    parts = [Streams(3, 4), Streams(-7, 2, first=5), Streams(1 << 60, 3)]
    joined = Joined(parts)
    assert torch.equal(joined.normal(5), torch.cat([Streams(3, 4).normal(5), Streams(-7, 2, first=5).normal(5),
                                                    Streams(1 << 60, 3).normal(5)]))  # fmt: skip
    assert torch.equal(joined[3:6].uniform(2), joined.uniform(2)[3:6])


@pytest.mark.parametrize(
    "name", ["labels", "diffusion", *(pytest.param(n, marks=pytest.mark.slow) for n in ("flow", "text"))]
)
def test_requests_drawn_together_have_the_items_they_would_have_alone(runs, name):
    run = runs[name]
    requests = [Request(3, 0), Request(1, 5), Request(4, 0)]
    for request, items in zip(requests, draw_each(run, requests, 5, {}), strict=True):
        alone = run.draw(request.n, seed=request.seed)
        assert np.allclose(items.values, alone.values, atol=1e-4) if name != "text" else items.values == alone.values


def test_answers_are_those_of_the_run(runs, ask):
    run, client = runs["flow"], ask("flow")
    x = run.sample(5, seed=3)
    drawn = client.post("/sample", json={"n": 5, "seed": 3}).json()
    assert np.allclose(drawn["items"], x, atol=1e-5)
    scored = client.post("/score", json={"items": x.tolist()}).json()
    assert np.allclose(scored["value"], run.log_prob(x), atol=1e-4)
    assert (scored["density"], scored["unit"]) == ("exact", "nats")
    codes = client.post("/encode", json={"items": x.tolist()}).json()["codes"]
    assert np.allclose(codes, run.encode(x), atol=1e-4)
    assert np.allclose(client.post("/decode", json={"codes": codes}).json()["items"], x, atol=1e-3)
    given = client.post("/sample", json={"n": 3, "condition": [1, 2, 3]})
    assert given.status_code == 400
    assert "without a condition" in given.json()["error"]
    labelled = ask("labels").post("/sample", json={"n": 3, "condition": [1, 2, 3]}).json()
    assert np.array_equal(labelled["items"], runs["labels"].sample(3, [1, 2, 3]))
    assert labelled["condition"] == [1, 2, 3]
    edited = ask("diffusion").post("/edit", json={"items": x.tolist(), "strength": 0.3, "steps": 3}).json()
    assert np.allclose(edited["items"], pofx.edit(runs["diffusion"], x, strength=0.3, steps=3), atol=1e-4)


def test_files_and_their_media_types(ask):
    picture = ask("labels").post("/sample", json={"n": 4, "format": "png"})
    assert picture.headers["content-type"] == "image/png"
    assert picture.content.startswith(b"\x89PNG")
    rows = ask("flow").post("/sample", json={"n": 4, "format": "csv"})
    assert rows.text.startswith("x0,x1")
    assert "json" in ask("flow").post("/sample", json={"n": 4, "format": "wav"}).json()["error"]


@pytest.mark.parametrize(
    ("name", "path", "body", "status", "words"),
    [
        ("flow", "/sample", {"n": 51}, 400, "1 to 50 items"),
        ("flow", "/sample", {"n": 0}, 422, "greater than or equal to 1"),
        ("flow", "/sample", {"m": 1}, 422, "Extra inputs"),
        ("flow", "/sample", {"n": 1, "options": {"heat": 1}}, 400, "unknown sampling option"),
        ("diffusion", "/sample", {"n": 1, "options": {"sampler_steps": "many"}}, 400, "sampler_steps"),
        ("flow", "/score", {"items": [[1.0]]}, 400, "shape"),
        ("flow", "/score", {"items": "abc"}, 400, "items must be a list"),
        ("flow", "/score", {"items": [[1e400, 0]]}, 400, "finite"),
        ("gan", "/score", {"items": [[0.1, 0.2]]}, 400, "no density"),
        ("flow", "/edit", {"items": [[0.1, 0.2]], "strength": 0.5}, 400, "denoise"),
        ("flow", "/decode", {"codes": [[1, 2, 3]]}, 400, "codes must have shape"),
        ("flow", "/sample", {"n": 1, "format": "exe"}, 400, "unknown format"),
        ("text", "/score", {"items": ["\ud800"]}, 200, "value"),
    ],
)  # fmt: skip
def test_wrong_requests_get_one_sentence(ask, name, path, body, status, words):
    text = json.dumps(body).replace("Infinity", "1e400")
    answer = ask(name).post(path, content=text, headers=JSON)
    assert answer.status_code == status, answer.text
    assert words in answer.text


def test_bytes_are_bounded_and_what_is_no_json_is_refused(ask):
    client = ask("flow")
    long = client.post("/score", content=b"[" * 200_000, headers=JSON)
    assert long.status_code == 413
    chunks = client.post(
        "/score", content=(b"[" * 1000 for _ in range(200)), headers={"Content-Type": "application/json"}
    )
    assert chunks.status_code == 413
    for body in (b"[" * 50_000, b"{", b"\xff", b'{"n": ' + b"9" * 5000 + b"}", b""):
        assert client.post("/sample", content=body, headers=JSON).status_code in (
            400,
            422,
        )


def test_a_token_and_names_of_hosts(runs):
    made = app(runs["flow"], token="secret", limits=SMALL)
    client = TestClient(made)
    assert client.get("/health").status_code == 200
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "secret"}):
        assert client.post("/sample", json={"n": 1}, headers=headers).status_code == 401
    assert client.post("/sample", json={"n": 1}, headers={"Authorization": "Bearer secret"}).status_code == 200
    made.state.batches.close()
    made = app(runs["flow"], limits=SMALL, hosts=("127.0.0.1",))
    assert TestClient(made, base_url="http://evil.example").post("/sample", json={"n": 1}).status_code == 400
    made.state.batches.close()


def test_metrics_and_health(ask):
    client = ask("flow")
    client.post("/sample", json={"n": 2})
    text = client.get("/metrics").text
    assert 'pofx_requests_total{path="/sample",status="200"}' in text
    assert "pofx_batch_items_bucket" in text
    assert client.get("/health").json() == {"status": "ok", "waiting": 0}


def test_a_request_that_takes_too_long_is_ended(runs):
    made = app(runs["diffusion"], limits=Limits(seconds=0.2))
    answer = TestClient(made).post("/sample", json={"n": 900, "options": {"sampler_steps": 1000}})
    assert answer.status_code == 503
    assert "more than 0.2 seconds" in answer.json()["error"]
    tries = [TestClient(made).post("/sample", json={"n": 1}).status_code for _ in range(5)]
    assert 200 in tries  # the next one is computed, however busy the machine is
    made.state.batches.close()


def test_streams_hold_progress_texts_and_items(runs, ask):
    lines = [json.loads(line) for line in ask("text").post("/sample/stream", json={"n": 5, "chunk": 2}).iter_lines()]
    items = [v for line in lines if "items" in line for v in line["items"]]
    assert items == runs["text"].sample(5)
    texts = [""] * 5
    for line in lines:
        if "text" in line:
            texts[line["number"]] += line["text"]
    assert texts == items
    assert lines[-1] == {"done": 5}
    share = [line["progress"] for line in lines if "progress" in line]
    assert share == sorted(share)
    assert share[-1] == 1.0
    failed = ask("text").post("/sample/stream", json={"n": 1, "options": {"heat": 1}}).iter_lines()
    assert "heat" in json.loads(next(iter(failed)))["error"]


@pytest.fixture(scope="module")
def address(runs):
    """A real server in a thread."""
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app(runs["labels"], limits=SMALL, token="t"), port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


def test_the_client_returns_what_the_run_returns(runs, address):
    run = runs["labels"]
    with pofx.Client(address, "t") as client:
        x = client.sample(4, [1, 2, 3, 4], seed=1)
        assert np.array_equal(x, run.sample(4, [1, 2, 3, 4], seed=1))
        assert x.dtype == np.uint8
        score = client.score(x, [1, 2, 3, 4])
        assert np.allclose(score.value, run.log_prob(x, [1, 2, 3, 4]), atol=1e-4)
        assert score.density == run.density
        assert [line for line in client.stream(3, 1) if "done" in line] == [{"done": 3}]
        with pytest.raises(PofxError, match="no codes"):
            client.encode(x)
    with pofx.Client(address, "wrong") as client, pytest.raises(PofxError, match="token"):
        client.sample(1)
    with pofx.Client("http://127.0.0.1:9") as client:
        for call in (lambda: client.sample(1), lambda: list(client.stream(1)), lambda: client.info):
            with pytest.raises(UsageError, match="no server"):
                call()


def test_a_port_that_is_taken_is_one_sentence_and_0_a_free_one(runs):
    from pofx.serve.ports import listening
    from pofx.serve.server import serve

    assert 1024 <= listening("127.0.0.1", 0) < 65536
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for host, at in (("127.0.0.1", port), ("198.51.100.7", 0)):
            with pytest.raises(UsageError, match="another --port"):
                serve(runs["flow"], host, at, None, SMALL)


def test_many_at_once_share_batches_and_none_fails(runs, address):
    run, found, client = runs["labels"], {}, pofx.Client(address, "t")
    _ = client.info

    def draw(k):
        found[k] = client.sample(2, seed=k)

    threads = [threading.Thread(target=draw, args=(k,)) for k in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(found[k], run.sample(2, seed=k)) for k in range(16))
    text = client.http.get("/metrics").text
    shared = float(next(line for line in text.splitlines() if line.startswith("pofx_batch_requests_sum")).split()[1])
    batches = float(next(line for line in text.splitlines() if line.startswith("pofx_batch_requests_count")).split()[1])
    assert shared > batches
    client.close()


@pytest.mark.parametrize("name", ["flow", pytest.param("labels", marks=pytest.mark.slow)])
def test_nothing_that_fits_or_not_makes_the_server_fail(runs, name):
    made = app(runs[name], limits=SMALL)
    described = schemathesis.openapi.from_asgi("/openapi.json", made)
    for found in described.get_all_operations():

        @given(case=found.ok().as_strategy())
        @settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
        def check(case):
            answer = case.call()
            assert answer.status_code < 500 or answer.status_code == 503, answer.text

        check()
    made.state.batches.close()


def test_the_pages_have_examples_for_every_body(ask):
    page = ask("flow").get("/openapi.json").json()
    for name, of in page["components"]["schemas"].items():
        if name in ("Sample", "Score", "Encode", "Decode", "Edit"):
            assert any("examples" in field for field in of["properties"].values()), name


def test_a_batch_waits_a_little_for_those_who_were_there_before():
    """Four clients, each of whom requests again when it is answered, share batches; one alone never waits."""
    from pofx.serve.batches import Batches

    sizes: list[int] = []
    batches = Batches(100, 100, 60.0, lambda requests, items, late: sizes.append(requests))

    def slow(payloads):
        time.sleep(0.05)
        return payloads

    def client(k):
        for i in range(6):
            assert batches.submit("key", (k, i), 1, slow).result() == (k, i)

    threads = [threading.Thread(target=client, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(sizes) == 24 and max(sizes) <= 4
    assert batches.submit("other", 1, 1, slow).result() == 1
    assert batches.submit(None, 2, 1, lambda p: p).result() == 2
    batches.close()
    assert batches.expected == 1, "one alone"


def test_freed_memory_is_given_back_now_and_then():
    from pofx.serve.heap import EVERY, Heap

    heap = Heap()
    assert not heap.tidy()
    heap.last -= EVERY + 1
    assert heap.tidy() and not heap.tidy()
