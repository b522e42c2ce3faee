"""The page of a study in a real browser: consent, items, keys, what is shown when the connection is lost."""

import shutil
import socket
import threading
import time

import numpy as np
import pytest

import pofx
from pofx.serve.stimuli import sources
from pofx.serve.study import Plan, Study

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture
def served(tmp_path):
    """Studies behind HTTP, each with its address."""
    uvicorn = pytest.importorskip("uvicorn", reason="the page needs the extra `serve`")
    from pofx.serve.study_page import app

    rng, begun = np.random.default_rng(0), []
    pictures = pofx.images(rng.integers(0, 17, (20, 8, 8)).astype(np.uint8), levels=17, labels=np.arange(20) % 2)
    run = pofx.fit(pictures, model="gmm", steps=1, progress=False, condition="label")

    def start(protocol, **values):
        made = sources({"gmm": run}, pictures, 5, 0)
        study = Study.create(tmp_path / f"{protocol}.db", Plan(protocol, **values), made)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        server = uvicorn.Server(uvicorn.Config(app(study, "secret"), port=port, log_level="error"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.02)
        begun.append((server, thread, study))
        return study, f"http://127.0.0.1:{port}", server

    yield start
    for server, thread, study in begun:
        server.should_exit = True
        thread.join(10)
        study.close()


@pytest.fixture
def page():
    playwright = pytest.importorskip("playwright.sync_api", reason="browser tests need playwright")
    if CHROMIUM is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    with playwright.sync_playwright() as run:
        browser = run.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        one = browser.new_page(viewport={"width": 380, "height": 800}, color_scheme="dark")
        one.errors = []
        one.on("console", lambda m: one.errors.append(m.text) if m.type == "error" else None)
        one.on("pageerror", lambda e: one.errors.append(str(e)))
        one.set_default_timeout(20_000)
        yield one
        browser.close()


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["real", "timed", "pair", "preference"])
def test_a_rater_answers_by_keys_to_the_end(protocol, served, page):
    study, address, _ = served(protocol, trials=6)
    page.goto(address)
    page.wait_for_selector("button:focus")  # that of consent
    page.keyboard.press("Enter")
    page.wait_for_selector("#progress", state="attached")
    for k in range(6):
        page.wait_for_function(f"Math.round(document.querySelector('#progress').value * 6) === {k}")
        page.wait_for_selector("button.choice:not([disabled])")
        if protocol != "timed":
            assert page.locator("#items img").count() == (2 if protocol in ("pair", "preference") else 1)
        assert page.evaluate("document.documentElement.scrollWidth") <= 380
        page.keyboard.press("2")
    page.wait_for_selector("text=this was the last question")
    answers = study.answers()
    assert len(answers) == 6 and (answers["milliseconds"] >= 0).all()
    page.goto(f"{address}/results?key=secret")  # plain JSON, beside which a browser requests an icon
    assert "answers" in page.inner_text("body") and not page.errors


@pytest.mark.slow
def test_a_lost_connection_is_stated_and_the_same_address_goes_on(served, page):
    study, address, server = served("pair", trials=6)
    page.goto(address)
    page.click("button")
    page.wait_for_selector("#items img")
    page.route("**/answer", lambda route: route.abort())
    page.keyboard.press("1")
    page.wait_for_function("document.querySelector('#note').innerText.includes('reload')")
    page.unroute("**/answer")
    page.reload()
    page.wait_for_selector("button.choice:not([disabled])")
    page.keyboard.press("1")
    page.wait_for_function("document.querySelector('#progress').value > 0")
    assert len(study.answers()) == 1
