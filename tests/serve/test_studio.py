"""The studio: its functions on runs of every kind, and every control of its page in a real browser."""

import shutil
import socket
import time

import numpy as np
import pandas as pd
import pytest

import pofx
from pofx.core.config import entry
from pofx.core.errors import PofxError, UsageError
from pofx.serve.desk import Desk, sight
from pofx.train.log import Log

QUICK = {"steps": 2, "batch_size": 32, "progress": False}
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Runs of every kind of item, tiny."""
    root = tmp_path_factory.mktemp("runs")
    rate, time_ = 8000, np.arange(400) / 8000
    clips = [np.sin(2 * np.pi * f * time_).astype(np.float32) for f in range(200, 500, 10)]
    rows = {"age": np.arange(60) % 7 + 20.5 * np.random.default_rng(0).random(60), "plan": ["pro", "free", "team"] * 20}
    made = {
        "vae": pofx.fit("digits", model="vae", width=32, latent=4, out=root / "vae", **QUICK),
        "made": pofx.fit("digits", model="made", width=32, blocks=1, condition="label", **QUICK),
        "ddpm": pofx.fit("digits", model="ddpm", network="mlp", width=32, depth=1, sampler_steps=4, **QUICK),
        "nsf": pofx.fit("moons", model="nsf", width=16, bins=4, blocks=1, **QUICK),
        "rows": pofx.fit(pofx.table(pd.DataFrame(rows)), model="copula", **QUICK),
        "gpt": pofx.fit(pofx.texts(["abra", "kadabra", "ab"] * 20), model="gpt", width=24, layers=1, heads=2, **QUICK),
        "sound": pofx.fit(
            pofx.audio(clips, rate=rate),
            model="wavenet",
            steps=1,
            batch_size=8,
            progress=False,
            options=entry("wavenet").model.small,
        ),
    }
    for name, run in made.items():
        if name != "vae":
            run.save(root / name)
    return root


@pytest.fixture(scope="module")
def desk(folder):
    return Desk([folder / name for name in ("vae", "made", "ddpm", "nsf", "rows", "gpt", "sound")])


@pytest.mark.slow
def test_every_kind_is_seen_as_a_person_sees_it(desk):
    assert desk.sample("vae", 4).picture.size[0] > 100
    assert list(desk.sample("rows", 4).rows.columns) == ["age", "plan"]
    assert len(desk.sample("gpt", 3).text.splitlines()) == 3
    rate, clip = desk.sample("sound", 2).sound
    assert rate == 8000
    assert clip.ndim == 1
    points = desk.sample("nsf", 5)
    assert points.picture is not None
    assert len(points.rows) == 5


@pytest.mark.slow
def test_samples_follow_seed_condition_and_options(desk):
    one, other = desk.sample("made", 4, 0, "3"), desk.sample("made", 4, 1, "3")
    assert np.array_equal(one.picture, desk.sample("made", 4, 0, "3").picture)
    assert not np.array_equal(one.picture, other.picture)
    assert "do not follow p(x)" in desk.sample("made", 2, 0, "", "temperature=0.5").note
    assert desk.sample("ddpm", 2, 0, "", {"sampler_steps": 2}).picture is not None
    with pytest.raises(UsageError, match="heat"):
        desk.sample("made", 2, 0, "", "heat=1")


def test_controls_of_sampling_are_those_that_a_run_has(desk):
    from pofx.serve.studio import fitting

    assert "heun" in desk.samplers("ddpm") and desk.samplers("vae") == []
    assert fitting(desk, "ddpm")["sampler_steps"] and not fitting(desk, "vae")["sampler_steps"]
    assert fitting(desk, "made")["temperature"] and not fitting(desk, "ddpm")["temperature"]


def test_odd_requests_end_with_a_sentence(desk, tmp_path):
    from PIL import Image

    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "p.png")
    pd.DataFrame({"a": np.arange(40.0) ** 1.5, "b": 0.5}).to_csv(tmp_path / "t.csv", index=False)
    run = pofx.fit(tmp_path / "t.csv", "independent", reading={"drop": "b"}, out=tmp_path / "t", **QUICK)
    assert "table items: " in str(raised(lambda: Desk([tmp_path / "t"]).own("t", tmp_path / "p.png"))), run
    wrong = {
        "unknown run 'nope'": lambda: desk.sample("nope"),
        "is a picture": lambda: desk.own("vae", "age=3"),
        "must have pixels": lambda: desk.own("vae", np.zeros((0, 0, 3), np.uint8)),
        "as numbers": lambda: desk.own("nsf", "1;2"),
    }
    for words, call in wrong.items():
        assert words in str(raised(call))
    assert "it was left out" in desk.sample("vae", 1, None, "3", None).note  # a cleared field is None
    assert len(desk.test_item("vae", None)) == 1
    assert "nan" not in desk.score("rows", desk.own("rows", "age=22, plan=nobody"))[1]


def raised(call):
    with pytest.raises(PofxError) as found:
        call()
    return found.value


@pytest.mark.slow
def test_runs_are_compared_on_the_same_seeds(desk):
    found = dict(desk.compare(["vae", "ddpm", "gpt"], 4, 3))
    assert np.array_equal(found["vae"].picture, desk.sample("vae", 4, 3).picture)
    assert found["gpt"].text


@pytest.mark.slow
def test_pictures_are_painted_anew_and_texts_and_rows_completed(desk):
    items = desk.test_item("ddpm", 0)
    mask = np.zeros((320, 320), bool)
    mask[:, 160:] = True
    done = desk.complete("ddpm", items, mask, n=2)
    assert "50% drawn anew" in done.note
    texts = desk.complete("gpt", prefix="ka", n=3).text.splitlines()
    assert all(t.startswith("ka") for t in texts)
    assert desk.complete("made", desk.test_item("made", 1), rows=4, n=2, condition="3").picture is not None
    with pytest.raises(PofxError, match="paint"):
        desk.complete("ddpm", items, None)
    with pytest.raises(PofxError):
        desk.complete("nsf", desk.test_item("nsf", 0), None, rows=1)


@pytest.mark.slow
def test_items_of_ones_own_are_reconstructed_and_scored(desk):
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[16:48, 24:40] = 255
    own = desk.own("vae", picture)
    assert own.values.shape == (1, 8, 8)
    assert own.values.max() == 16
    found, code = desk.reconstruct("vae", own)
    assert found.picture is not None
    assert "code of 4 numbers" in code
    image, note = desk.score("nsf", desk.own("nsf", "0.5, 0.2"))
    assert image is not None
    assert "test items are less probable" in note
    assert desk.score("made", desk.test_item("made", 2))[0] is not None
    assert desk.own("rows", "age=30, plan=pro").values.shape == (1, 2)
    with pytest.raises(UsageError, match="numbers"):
        desk.own("nsf", "a, b")
    with pytest.raises(UsageError, match="no item"):
        desk.own("nsf", " ")


@pytest.mark.slow
def test_a_picture_in_the_editor_is_the_one_that_is_drawn_anew(desk):
    from pofx.serve.studio import large, over_white, paintable, painted_item

    own = np.zeros((64, 64, 4), np.uint8)
    own[16:48, 24:40] = 255  # a white bar; the rest is transparent, its hidden colour black
    assert (over_white(own) == 255).all()
    own[..., 3] = 255
    assert paintable({"background": own, "layers": []}).shape == (320, 320, 3) and "update" in str(paintable(None))
    item = painted_item(desk, "ddpm", 0, {"background": own, "layers": []})
    assert item.values.max() == 16 and item.values[0, :, 0].max() == 0
    mask = np.zeros((64, 64), bool)
    mask[:32] = True
    done = desk.complete("ddpm", item, mask, n=2)
    assert done.note == "50% drawn anew"
    loaded = {"background": large(desk, "ddpm", 3), "layers": []}
    for drawn in (loaded, None, {"background": None}):
        assert np.array_equal(painted_item(desk, "ddpm", 3, drawn).values, desk.test_item("ddpm", 3).values)
    assert desk.complete("vae", desk.test_item("vae", 0), mask, n=2).note == "50% drawn anew"
    with pytest.raises(PofxError, match="from their beginning"):
        desk.complete("made", desk.test_item("made", 0), mask, n=2)
    with pytest.raises(PofxError, match="larger part"):
        desk.complete("ddpm", item, np.eye(64, dtype=bool), n=2)
    with pytest.raises(PofxError, match="picture is none"):
        desk.own("nsf", own[..., :3])


@pytest.mark.slow
def test_files_of_ones_own_are_items(desk, tmp_path):
    from scipy.io import wavfile

    wavfile.write(tmp_path / "a.wav", 8000, np.sin(np.arange(400) / 5).astype(np.float32))
    sound = desk.own("sound", tmp_path / "a.wav")
    assert sound.kind == "audio"
    picture, note = desk.score("sound", sound)  # of a run of arrays, whose test items are nowhere
    assert picture is None and "log p" in note and "not found from here" in note
    pd.DataFrame({"age": [30.5], "plan": ["pro"]}).to_csv(tmp_path / "row.csv", index=False)
    assert "log p" in desk.score("rows", desk.own("rows", tmp_path / "row.csv"))[1]
    (tmp_path / "a.txt").write_text("abra\n")
    assert list(desk.own("gpt", tmp_path / "a.txt").values) == ["abra"]
    for name, file in (("nsf", "a.txt"), ("vae", "a.wav"), ("rows", "none.csv")):
        with pytest.raises(PofxError):
            desk.score(name, desk.own(name, tmp_path / file))


@pytest.mark.slow
def test_a_number_is_the_same_test_item_on_every_tab(desk):
    space = desk["nsf"].space
    for number in (0, 5):
        start = np.asarray(desk["nsf"].run.encode(desk.test_item("nsf", number).values))
        assert np.allclose(desk._code(desk["nsf"], desk.test_item("nsf", number)), start, atol=1e-5)
        assert not np.allclose(space.codes[number], start, atol=1e-3)  # there in another order
        rows = desk.walk("nsf", number, [0.0, 0.0]).rows.astype(float).to_numpy()
        assert np.allclose(rows[0], desk.test_item("nsf", number).values[0], atol=1e-3)
    ends = desk.interpolate("nsf", 0, 5, 3).rows.astype(float).to_numpy()
    assert np.allclose(ends[[0, -1]], [desk.test_item("nsf", k).values[0] for k in (0, 5)], atol=1e-3)
    own = desk.own("nsf", "0.5, 0.2")
    assert np.allclose(desk.walk("nsf", 0, [0.0], own=own).rows.astype(float).to_numpy()[0], [0.5, 0.2], atol=1e-3)


@pytest.mark.slow
def test_codes_are_walked_and_interpolated(desk):
    still = desk.walk("vae", 0, [0, 0, 0])
    assert not np.array_equal(still.picture, desk.walk("vae", 0, [3, 0, 0]).picture)
    assert desk.axes("vae") == [f"component {k + 1}" for k in range(4)]
    assert len(desk.axes("vae", "labels")) == 6
    assert desk.walk("vae", 1, [1], "labels").picture is not None
    assert desk.interpolate("vae", 0, 5, 4).picture is not None
    with pytest.raises(PofxError, match="no codes"):
        desk.walk("made", 0, [1])


@pytest.mark.slow
def test_curves_and_reports(desk, tmp_path):
    image, note = desk.curves("vae")
    assert image is not None
    assert "step" in note
    assert "no log" in desk.curves("made")[1]
    (tmp_path / "report.html").write_text("<p>a 'report' & more</p>")
    assert "&lt;p&gt;a &#x27;report&#x27; &amp;amp;" not in desk.report(str(tmp_path))
    assert "srcdoc=" in desk.report(str(tmp_path))
    with pytest.raises(UsageError, match="no report"):
        desk.report(str(tmp_path / "none"))


def begun(folder):
    """A run that is trained and has no weights yet."""
    folder.mkdir(parents=True)
    (folder / "request.json").write_text("{}")
    Log(folder).write({"step": 3, "seconds": 1.0, "loss": 2.0})


def test_a_run_is_watched_before_it_has_weights_and_read_anew_when_it_is_saved(tmp_path, monkeypatch):
    begun(tmp_path / "runs" / "new")
    monkeypatch.chdir(tmp_path)
    desk = Desk()
    assert "step 3" in desk.curves("new")[1]
    with pytest.raises(PofxError, match="no weights yet"):
        desk.sample("new")
    for seed in (0, 1):
        pofx.fit("moons", model="gmm", steps=1, progress=False, seed=seed).save("runs/new")
        rows = desk.sample("new", 3).rows
        assert np.allclose(rows.astype(float), pofx.load("runs/new").sample(3), atol=1e-3)


@pytest.mark.slow
def test_the_page_opens_for_a_run_without_weights(tmp_path):
    gradio = pytest.importorskip("gradio", reason="the studio needs gradio")
    from pofx.serve.studio import page as made

    begun(tmp_path / "new")
    assert isinstance(made(Desk([tmp_path / "new"])), gradio.Blocks)


def test_a_desk_without_runs_states_what_to_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="pofx train"):
        Desk()


def test_curves_hold_what_is_minimised_and_measured_alone(tmp_path, monkeypatch):
    log = Log(tmp_path)
    log.write({"step": 3, "seconds": 1.0, "images": 96, "rate": 0.5, "lr": 1e-3, "steps_per_second": 5.8})
    log.write({"step": 3, "seconds": 1.1, "validation": 2.0})
    seen = {}
    monkeypatch.setattr("pofx.serve.desk._plot", seen.update)
    made = Desk.__new__(Desk)
    made.paths = {"run": tmp_path}
    assert made.curves("run")[1] == "step 3, 1 s" and set(seen) == {"rate", "validation"}


def test_all_facts_are_escaped():
    assert sight(pofx.texts(["<b>"] * 3)).text.splitlines()[0] == "<b>"


# --- the page


@pytest.fixture(scope="module")
def address(desk):
    pytest.importorskip("gradio", reason="the studio needs gradio")
    from pofx.serve.studio import launch

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    made = launch(desk, port=port, block=False)
    yield f"http://127.0.0.1:{port}"
    made.close(verbose=False)


@pytest.fixture
def page(address):
    playwright = pytest.importorskip("playwright.sync_api", reason="browser tests need playwright")
    if CHROMIUM is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    with playwright.sync_playwright() as run:
        browser = run.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        one = browser.new_page(viewport={"width": 1500, "height": 1000})
        one.errors = []
        one.on("console", lambda m: one.errors.append(m.text) if m.type == "error" else None)
        one.on("pageerror", lambda e: one.errors.append(str(e)))
        one.set_default_timeout(60_000)
        began = time.monotonic()
        one.goto(address)
        one.wait_for_selector("#sample-go")
        one.painted = time.monotonic() - began
        yield one
        browser.close()


def choose(page, name):
    page.click("#run input")
    page.click(f"[role=option]:has-text('{name}')")
    page.wait_for_function("name => document.querySelector('#run input').value === name", arg=name)


def tab(page, name):
    """Tabs that do not fit into the line are in the menu behind it."""
    shown = page.locator(f"button[role=tab]:has-text('{name}'):visible")
    if not shown.count():
        page.locator(".overflow-menu > button, button.overflow-item").first.click()
        shown = page.locator(f".overflow-dropdown button:has-text('{name}')")
    shown.first.click()


@pytest.mark.slow
def test_every_control_of_the_page_works(page, tmp_path):
    page.click("#sample-go")
    page.wait_for_selector("#sample-picture img")
    tab(page, "Compare")
    page.click("#compare-go")
    page.wait_for_selector("#compare-1-picture img")
    tab(page, "Reconstruct")
    page.click("#reconstruct-go")
    page.wait_for_function(
        "document.querySelector('#reconstruct-code textarea,#reconstruct-code input').value.length > 5"
    )
    tab(page, "Walk")
    page.click("#walk-go")
    page.wait_for_selector("#walk-picture img")
    tab(page, "Interpolate")
    page.click("#interpolate-go")
    page.wait_for_selector("#interpolate-picture img")
    tab(page, "Training")
    page.click("#training-go")
    page.wait_for_selector("#training-picture img")
    page.check("#training-live input")
    tab(page, "Report")
    (tmp_path / "report.html").write_text("<h1>hello</h1>")
    page.fill("#report-folder textarea, #report-folder input", str(tmp_path))
    page.click("#report-go")
    page.wait_for_selector("#report-frame iframe")
    choose(page, "nsf")
    tab(page, "Score")
    page.click("#score-go")
    page.wait_for_selector("#score-picture img")
    choose(page, "gpt")
    tab(page, "Complete")
    page.fill("#complete-prefix textarea, #complete-prefix input", "ka")
    page.click("#complete-go")
    page.wait_for_function("(document.querySelector('#complete-text textarea')||{value:''}).value.startsWith('ka')")
    choose(page, "ddpm")
    page.fill("#complete-prefix textarea, #complete-prefix input", "")
    page.click("#complete-load")
    page.wait_for_timeout(3000)
    box = page.locator("#complete-editor canvas").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2 - 20, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 + 30, box["y"] + box["height"] / 2 + 10, steps=8)
    page.mouse.up()
    page.wait_for_timeout(1000)
    page.click("#complete-go")
    page.wait_for_selector("#complete-picture img")
    assert not page.errors


def write(page, at, value):
    """A value into the field of a control."""
    field = page.locator(f"#{at} textarea, #{at} input").first
    field.fill(str(value))
    field.press("Tab")


def ran(page, name):
    """Press the button of a tab, and wait for another picture than before."""
    old = page.locator(f"#{name}-picture img").first.get_attribute("src")
    page.click(f"#{name}-go")
    page.wait_for_function(
        "([at, old]) => { const seen = document.querySelector(at); return seen && seen.getAttribute('src') !== old }",
        arg=[f"#{name}-picture img", old],
    )


def upload(page, folder):
    """A picture, a row and a sound of one's own, in each control that takes one."""
    from PIL import Image
    from scipy.io import wavfile

    Image.fromarray(np.tile(np.arange(256, dtype=np.uint8), (256, 1))).save(folder / "own.png")
    wavfile.write(folder / "own.wav", 8000, np.sin(np.arange(400) / 5).astype(np.float32))
    choose(page, "vae")
    for name in ("reconstruct", "walk"):
        tab(page, name.capitalize())
        page.locator("text=Or your own picture, sound or file").locator("visible=true").first.click()
        page.set_input_files(f"#{name}-upload input[type=file]", folder / "own.png")
        page.wait_for_selector(f"#{name}-upload img")
        ran(page, name)
    choose(page, "sound")
    tab(page, "Score")
    page.locator("text=Or your own picture, sound or file").locator("visible=true").first.click()
    page.set_input_files("#score-file input[type=file]", folder / "own.wav")
    page.wait_for_selector("#score-file .file-preview, #score-file a")
    write(page, "score-own", "")
    page.click("#score-go")
    page.wait_for_function("document.querySelector('#score-note').innerText.includes('log p')")
    choose(page, "ddpm")
    tab(page, "Complete")
    page.set_input_files("#complete-editor input[type=file]", folder / "own.png")
    page.wait_for_timeout(2000)
    box = page.locator("#complete-editor canvas").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2 - 30, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 + 30, box["y"] + box["height"] / 2 + 10, steps=8)
    page.mouse.up()
    page.wait_for_timeout(1000)
    page.click("#complete-go")
    page.wait_for_function("document.querySelector('#complete-note').innerText.includes('drawn anew')")
    assert "100%" not in page.inner_text("#complete-note")  # the brush fits the picture


@pytest.mark.slow
def test_the_other_controls_change_what_is_shown(page, tmp_path):
    choose(page, "ddpm")
    page.wait_for_selector("#sample-sampler input", state="visible")
    page.click("#sample-go")
    page.wait_for_selector("#sample-picture img")
    for at, value in (("sample-n", 5), ("sample-seed", 3), ("sample-steps", 3)):
        write(page, at, value)
        ran(page, "sample")
        note = page.inner_text("#sample-note")
        assert ("5 samples" in note) and (at == "sample-n" or "seed 3" in note)
    page.click("#sample-sampler input")
    page.click("[role=option]:has-text('heun')")
    write(page, "sample-options", "sampler_steps=2")
    write(page, "sample-steps", 0)
    ran(page, "sample")
    choose(page, "made")  # without steps or a sampler, with a temperature and a condition
    page.wait_for_selector("#sample-sampler", state="hidden")
    write(page, "sample-options", "")
    write(page, "condition", "3")
    write(page, "sample-temperature", 0.5)
    ran(page, "sample")
    assert "do not follow p(x)" in page.inner_text("#sample-note")
    write(page, "condition", "")
    tab(page, "Compare")
    page.locator("#compare-names input").nth(0).uncheck()
    page.click("#compare-go")
    page.wait_for_selector("#compare-1-picture img")
    assert "vae" not in page.inner_text("#compare-name-0")
    choose(page, "vae")
    tab(page, "Walk")
    write(page, "walk-number", 2)
    page.click("#walk-go")
    page.wait_for_selector("#walk-picture img")
    write(page, "walk-0", 2)
    page.check("#walk-along input[value=labels]")
    page.click("#walk-go")
    page.wait_for_function("document.querySelector('#walk-0').innerText.trim() != 'direction 1'")  # a label's name
    page.wait_for_selector("#walk-picture img")
    tab(page, "Interpolate")
    for at, value in (("interpolate-a", 1), ("interpolate-b", 4), ("interpolate-steps", 5)):
        write(page, at, value)
    page.click("#interpolate-go")
    page.wait_for_selector("#interpolate-picture img")
    tab(page, "Reconstruct")
    write(page, "reconstruct-number", 3)
    page.click("#reconstruct-go")
    page.wait_for_selector("#reconstruct-picture img")
    choose(page, "nsf")
    tab(page, "Score")
    write(page, "score-own", "0.5, 0.1")
    page.click("#score-go")
    page.wait_for_function("document.querySelector('#score-note').innerText.length > 5")
    choose(page, "made")
    tab(page, "Complete")
    for at, value in (("complete-number", 2), ("complete-rows", 3), ("complete-n", 2), ("complete-seed", 1)):
        write(page, at, value)
    page.click("#complete-go")
    page.wait_for_selector("#complete-picture img")
    upload(page, tmp_path)
    page.click("text=About this run")
    page.wait_for_selector("#about table")
    assert not page.errors


@pytest.mark.slow
def test_the_page_is_fast_dark_narrow_and_works_by_keys(page):
    assert page.painted < 30  # on a busy machine; measured apart
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": 380, "height": 800})
    page.reload()  # as a phone opens it
    page.wait_for_selector("#sample-go")
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= 400
    page.focus("#sample-n input")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#sample-picture img")
    choose(page, "rows")
    page.click("#sample-go")
    page.wait_for_selector("#sample-rows table")
    assert page.evaluate("document.documentElement.scrollWidth") <= 400  # a wide table scrolls in its place
    assert not page.errors
