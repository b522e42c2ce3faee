"""The studio: one local page for runs, in Gradio. Every control calls one function of `desk` and shows what it returns.

Nothing leaves this machine: no analytics, no fonts of others, no share link; away from loopback a password is needed.
"""

import html as markup
import os
import re
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pofx.core.errors import PofxError, UsageError
from pofx.serve.desk import AXES, Desk, Sight
from pofx.serve.ports import listening

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

try:
    import gradio as gr
except ImportError as error:
    raise UsageError("the studio needs the extra `studio`: pip install pofx[studio]") from error

CSS = """
.gradio-container, .gradio-container .main, .gradio-container main {
  width: 100% !important; max-width: 1240px !important; margin-left: auto; margin-right: auto
}
.sight img {image-rendering: pixelated}
.rows {max-width: calc(100vw - 64px); overflow-x: auto}
.facts, .facts tr {border: 0 !important}
.facts {border-collapse: collapse; max-width: 100%}
.facts th, .facts td {
  border: 0 !important; border-bottom: 1px solid var(--border-color-primary) !important;
  padding: 4px 12px 4px 0 !important; text-align: left; overflow-wrap: anywhere
}
.facts th {font-weight: 400; opacity: 0.75; white-space: nowrap}
@media (max-width: 640px) {.gradio-container {padding: 4px !important}}
"""
PICTURE: Any = ["download", "fullscreen"]  # the buttons of a picture: none shares it
KEYS = """<script>
document.addEventListener('keydown', e => {
  if (e.key !== 'Enter' || !(e.ctrlKey || e.metaKey)) return;
  const seen = [...document.querySelectorAll('button.go')].find(b => b.offsetParent);
  if (seen) { seen.click(); e.preventDefault(); }
});
</script>"""
PAINTED = 320  # pixels of the longer side of a picture that is painted on
CONTROLS = ("temperature", "sampler_steps", "guidance", "sampler")  # of sampling, shown where a run has them
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Panel:
    """Where a sight is shown: a picture, rows, a text, sound and a sentence, each visible where there is one."""

    def __init__(self, name: str) -> None:
        self.note = gr.Markdown(elem_id=f"{name}-note")
        self.picture = gr.Image(
            type="pil", format="png", interactive=False, visible=False, show_label=False, elem_classes="sight",
            elem_id=f"{name}-picture", buttons=PICTURE,
        )  # fmt: skip
        self.sound = gr.Audio(
            interactive=False, visible=False, label="Sound", elem_id=f"{name}-sound", buttons=["download"]
        )
        self.rows = gr.Dataframe(
            interactive=False, visible=False, label="Rows", elem_classes="rows", elem_id=f"{name}-rows"
        )
        self.text = gr.Textbox(lines=8, interactive=False, visible=False, label="Texts", elem_id=f"{name}-text")

    @property
    def parts(self) -> list[Any]:
        return [self.note, self.picture, self.rows, self.text, self.sound]

    @staticmethod
    def shown(found: Sight) -> list[Any]:
        """The updates of the parts."""
        return [
            gr.update(value=found.note),
            gr.update(value=found.picture, visible=found.picture is not None),
            gr.update(value=_short(found.rows), visible=found.rows is not None),
            gr.update(value=found.text, visible=found.text is not None),
            gr.update(value=found.sound, visible=found.sound is not None),
        ]


def _short(rows: Any) -> Any:
    """A table with numbers of at most eight digits, as a person reads them."""
    return rows if rows is None else rows.map(lambda v: float(f"{v:.8g}") if isinstance(v, float) else v)


def refused(function: Callable[..., Any], instead: Callable[[str], Any]) -> Callable[..., Any]:
    """The function; an error of pofx is a message of the page, and `instead` of it is what is shown then."""

    def wrapper(*args: Any) -> Any:
        try:
            return function(*args)
        except PofxError as error:
            gr.Warning(markup.escape(str(error)), duration=10)
            return instead(str(error))

    return wrapper


def now(function: Callable[..., Any], instead: Callable[[str], Any], *args: Any) -> Any:
    """What a function returns while the page is made; `instead` where a run cannot be read, such as one that has no
    weights yet."""
    try:
        return function(*args)
    except PofxError as error:
        return instead(str(error))


def empty(reason: str) -> list[Any]:
    """A panel with a sentence alone."""
    return Panel.shown(Sight(note=plain_text(reason)))


def plain_text(text: str) -> str:
    """A text as Markdown that shows it as it is."""
    return re.sub(r"([\\`*_{}\[\]<>#|~$])", r"\\\1", text)


def page(desk: Desk) -> Any:
    """The Gradio page of a desk."""
    first = desk.names[0]
    with gr.Blocks(title="pofx studio", analytics_enabled=False) as made:
        gr.Markdown("# pofx studio\nCtrl+Enter runs the visible page.")
        with gr.Row():
            run = gr.Dropdown(desk.names, value=first, label="Run", elem_id="run")
            condition = gr.Textbox(label="Condition", placeholder="3, or age=30", elem_id="condition")
        with gr.Accordion("About this run", open=False):
            about = gr.HTML(now(desk.about, markup.escape, first), elem_id="about")
        run.change(refused(desk.about, markup.escape), run, about, show_progress="hidden")
        for build in (_sample, _compare, _complete, _reconstruct, _walk, _interpolate, _score, _training, _report):
            build(desk, run, condition)
    return made


def _go(name: str, label: str) -> Any:
    return gr.Button(label, variant="primary", elem_id=f"{name}-go", elem_classes="go")


def _numbers(name: str, n: int = 16) -> tuple[Any, Any]:
    count = gr.Slider(1, 64, n, step=1, label="How many", elem_id=f"{name}-n")
    return count, gr.Number(0, precision=0, label="Seed", elem_id=f"{name}-seed")


def _sample(desk: Desk, run: Any, condition: Any) -> None:
    with gr.Tab("Sample", elem_id="tab-sample"):
        with gr.Row():
            n, seed = _numbers("sample")
        with gr.Row():
            first = now(fitting, lambda reason: dict.fromkeys(CONTROLS, False), desk, desk.names[0])
            temperature = gr.Slider(
                0.1,
                2.0,
                1.0,
                step=0.05,
                label="Temperature",
                elem_id="sample-temperature",
                visible=first["temperature"],
            )
            steps = gr.Number(
                0,
                precision=0,
                label="Sampler steps (0: its own)",
                elem_id="sample-steps",
                visible=first["sampler_steps"],
            )
            guidance = gr.Number(
                -1, label="Guidance (-1: its own)", elem_id="sample-guidance", visible=first["guidance"]
            )
        with gr.Row():
            sampler = gr.Dropdown(
                ["", *now(desk.samplers, lambda reason: [], desk.names[0])], value="", label="Sampler (empty: its own)",
                elem_id="sample-sampler", visible=first["sampler"],
            )  # fmt: skip
            options = gr.Textbox("", label="Further options", placeholder="top_p=0.9", elem_id="sample-options")
        go, panel = _go("sample", "Sample"), Panel("sample")

        def act(
            name: str, n: int, seed: int, c: str, t: float, steps: int, guidance: float, sampler: str, more: str
        ) -> Any:
            given = chosen(desk.options(name), t, steps, guidance, sampler)
            return Panel.shown(desk.sample(name, n, seed, c, f"{given} {more or ''}"))

        def fit(name: str) -> Any:
            known = fitting(desk, name)
            shown = [gr.update(visible=known[key]) for key in ("temperature", "sampler_steps", "guidance")]
            return [*shown, gr.update(choices=["", *desk.samplers(name)], value="", visible=known["sampler"])]

        inputs = [run, n, seed, condition, temperature, steps, guidance, sampler, options]
        go.click(refused(act, empty), inputs, panel.parts)
        unchanged = refused(fit, lambda reason: [gr.update()] * 4)
        run.change(unchanged, run, [temperature, steps, guidance, sampler], show_progress="hidden")


def fitting(desk: Desk, name: str) -> dict[str, bool]:
    """Which of the controls of sampling a run has a use for."""
    known = desk.options(name)
    return {key: key in known for key in CONTROLS}


def chosen(known: list[str], temperature: float, steps: int, guidance: float, sampler: str) -> str:
    """The options of the controls that a run has, where they differ from its own."""
    wanted = {
        "temperature": temperature if temperature != 1 else None,
        "sampler_steps": int(steps) if steps and steps > 0 else None,
        "guidance": guidance if guidance is not None and guidance >= 0 else None,
        "sampler": (sampler or "").strip() or None,
    }
    return " ".join(f"{key}={value}" for key, value in wanted.items() if value is not None and key in known)


def _compare(desk: Desk, run: Any, condition: Any) -> None:
    with gr.Tab("Compare", elem_id="tab-compare"):
        names = gr.CheckboxGroup(desk.names, value=desk.names[:3], label="Runs", elem_id="compare-names")
        with gr.Row():
            n, seed = _numbers("compare")
        go = _go("compare", "Draw from the same seeds")
        panels, columns = [], []
        with gr.Row():
            for k in range(min(len(desk.names), 6)):
                with gr.Column(min_width=240, visible=k < 3) as column:
                    columns.append(column)
                    panels.append((gr.Markdown(elem_id=f"compare-name-{k}"), Panel(f"compare-{k}")))

        def act(chosen_names: list[str], n: int, seed: int, c: str) -> Any:
            found = desk.compare(chosen_names[: len(panels)], n, seed, c)
            seen = [gr.update(visible=k < len(found)) for k in range(len(columns))]
            found += [("", Sight())] * (len(panels) - len(found))
            return seen + [part for name, one in found for part in (f"### {name}" if name else "", *Panel.shown(one))]

        parts = [*columns, *(part for title, panel in panels for part in (title, *panel.parts))]

        def none(reason: str) -> Any:
            return [gr.update()] * len(columns) + [gr.update(value=""), *empty(reason)] * len(panels)

        go.click(refused(act, none), [names, n, seed, condition], parts)


def _item(name: str) -> tuple[Any, Any, Any, Any]:
    """The controls of one item: a test item by number, a text, a picture, or a file."""
    with gr.Row():
        number = gr.Number(0, precision=0, label="Test item", elem_id=f"{name}-number")
        text = gr.Textbox("", label="Or your own: a text, numbers, age=30, plan=pro", elem_id=f"{name}-own")
    with gr.Accordion("Or your own picture, sound or file", open=False), gr.Row():
        picture = gr.Image(type="numpy", image_mode="RGBA", sources=["upload", "clipboard"], label="Picture",
                           elem_id=f"{name}-upload", buttons=PICTURE)  # fmt: skip
        file = gr.File(label="The first item of a file: .wav, .csv, .txt, .npz", elem_id=f"{name}-file")
    return number, text, picture, file


def item_of(desk: Desk, name: str, number: int, text: str, picture: Any, file: str | None = None) -> Any:
    """The item that the controls name: the picture, else the file, else the text, else the test item."""
    if picture is not None:
        return desk.own(name, over_white(picture))
    if file:
        return desk.own(name, Path(file))
    return desk.own(name, text) if text and text.strip() else desk.test_item(name, number)


def over_white(picture: Any) -> np.ndarray:
    """A picture (h, w), (h, w, 3), or (h, w, 4) whose transparent parts are shown over white, as in training."""
    array = np.asarray(picture)
    if array.ndim < 3 or array.shape[-1] != 4:
        return array
    share = array[..., 3:].astype(np.float32) / 255
    return np.round(array[..., :3] * share + 255 * (1 - share)).astype(np.uint8)


def _complete(desk: Desk, run: Any, condition: Any) -> None:
    with gr.Tab("Complete", elem_id="tab-complete"):
        gr.Markdown(
            "Write the beginning of a text, or the known columns of a row (age=30, plan=pro); load a picture and "
            "paint over what is drawn anew, or state its known rows."
        )
        with gr.Row():
            number = gr.Number(0, precision=0, label="Test item", elem_id="complete-number")
            rows = gr.Slider(0, 64, 4, step=1, label="Known rows or characters", elem_id="complete-rows")
            n, seed = _numbers("complete", 4)
        prefix = gr.Textbox("", label="Beginning of a text, or known columns", elem_id="complete-prefix")
        fetch = gr.Button("Load the test item into the editor", elem_id="complete-load")
        editor = gr.ImageEditor(
            type="numpy", image_mode="RGBA", sources=["upload", "clipboard"], transforms=(), layers=False,
            brush=gr.Brush(colors=["#ff3030"], color_mode="fixed", default_size=40), label="Paint what is drawn anew",
            elem_id="complete-editor", buttons=PICTURE,
        )  # fmt: skip
        go, panel = _go("complete", "Complete"), Panel("complete")

        def show(name: str, number: int) -> Any:
            return large(desk, name, number)

        def act(name: str, number: int, rows: int, n: int, seed: int, prefix: str, drawn: Any, c: str) -> Any:
            mask = mask_of(drawn)
            items = None if prefix else painted_item(desk, name, number, drawn)
            return Panel.shown(desk.complete(name, items, mask, prefix or "", int(rows), n, seed, c))

        fetch.click(refused(show, lambda reason: gr.update()), [run, number], editor)
        editor.upload(paintable, editor, editor, show_progress="hidden")
        go.click(refused(act, empty), [run, number, rows, n, seed, prefix, editor, condition], panel.parts)


def large(desk: Desk, name: str, number: int) -> np.ndarray:
    """A test item as a large picture, to paint on.

    Raises:
        UsageError: items that are no pictures.
    """
    items = desk.test_item(name, number)
    shown = desk[name].kind.shown(items.values, items.facts).pictures
    if shown is None or not desk[name].kind.photographic:
        raise UsageError("only pictures can be painted on: write the beginning of a text, or give rows")
    one = shown[0] if shown.ndim == 4 else np.repeat(shown[0][..., None], 3, -1)
    one = np.repeat(one, 3, -1) if one.shape[-1] == 1 else one
    factor = max(PAINTED // max(one.shape[:2]), 1)
    return one.repeat(factor, 0).repeat(factor, 1)


def paintable(drawn: Any) -> Any:
    """A picture that was put into the editor in a size for which the brush is made: a much smaller or much larger one
    gets PAINTED pixels on its longer side."""
    behind = (drawn or {}).get("background")
    if behind is None or PAINTED / 2 <= max(np.asarray(behind).shape[:2]) <= PAINTED * 4:
        return gr.update()
    picture = Image.fromarray(over_white(behind))
    factor = PAINTED / max(picture.size)
    size = (max(round(picture.width * factor), 1), max(round(picture.height * factor), 1))
    return np.asarray(picture.resize(size, Image.Resampling.BOX))


def painted_item(desk: Desk, name: str, number: int, drawn: Any) -> Any:
    """The item in the editor: the test item of this number where it is that or nothing, else the picture there."""
    behind = (drawn or {}).get("background")
    if behind is None:
        return desk.test_item(name, number)
    picture = over_white(behind)
    if desk[name].kind.photographic and np.array_equal(picture, large(desk, name, number)):
        return desk.test_item(name, number)  # exactly, not by the size in which it is shown
    return desk.own(name, picture)


def mask_of(drawn: Any) -> np.ndarray | None:
    """Where something was painted in the editor: bool (h, w)."""
    layers = [np.asarray(layer) for layer in (drawn or {}).get("layers") or () if layer is not None]
    painted = [layer[..., 3] > 0 for layer in layers if layer.ndim == 3 and layer.shape[-1] == 4]
    return np.any(painted, 0) if painted else None


def _reconstruct(desk: Desk, run: Any, condition: Any) -> None:
    with gr.Tab("Reconstruct", elem_id="tab-reconstruct"):
        item = _item("reconstruct")
        go, panel = _go("reconstruct", "Encode and reconstruct"), Panel("reconstruct")
        code = gr.Textbox(label="Code", interactive=False, elem_id="reconstruct-code")

        def act(name: str, number: int, text: str, picture: Any, file: Any, c: str) -> Any:
            found, words = desk.reconstruct(name, item_of(desk, name, number, text, picture, file), c)
            return [*Panel.shown(found), words]

        go.click(refused(act, lambda reason: [*empty(reason), ""]), [run, *item, condition], [*panel.parts, code])


def _walk(desk: Desk, run: Any, condition: Any) -> None:
    with gr.Tab("Walk", elem_id="tab-walk"):
        with gr.Row():
            along = gr.Radio(["components", "labels"], value="components", label="Along", elem_id="walk-along")
        item = _item("walk")
        sliders = [gr.Slider(-3, 3, 0, step=0.25, label=f"direction {k + 1}", elem_id=f"walk-{k}") for k in range(AXES)]
        go, panel = _go("walk", "Walk"), Panel("walk")

        def act(name: str, number: int, text: str, picture: Any, file: Any, along: str, *moves: float) -> Any:
            theirs = picture is not None or bool(file) or bool(text and text.strip())
            own = item_of(desk, name, number, text, picture, file) if theirs else None
            return Panel.shown(desk.walk(name, number, moves, along, own))

        def labels(name: str, along: str) -> Any:
            found = desk.axes(name, along)
            return [gr.update(label=found[k] if k < len(found) else "", visible=k < len(found)) for k in range(AXES)]

        inputs = [run, *item, along, *sliders]
        shown = refused(labels, lambda reason: [gr.update()] * AXES)
        go.click(refused(act, empty), inputs, panel.parts).then(shown, [run, along], sliders)
        for slider in sliders:
            slider.release(refused(act, empty), inputs, panel.parts)


def _interpolate(desk: Desk, run: Any, condition: Any) -> None:
    with gr.Tab("Interpolate", elem_id="tab-interpolate"):
        with gr.Row():
            a = gr.Number(0, precision=0, label="From test item", elem_id="interpolate-a")
            b = gr.Number(1, precision=0, label="To test item", elem_id="interpolate-b")
            steps = gr.Slider(2, 16, 8, step=1, label="Steps", elem_id="interpolate-steps")
        go, panel = _go("interpolate", "Interpolate"), Panel("interpolate")

        def act(name: str, a: int, b: int, steps: int) -> Any:
            return Panel.shown(desk.interpolate(name, a, b, steps))

        go.click(refused(act, empty), [run, a, b, steps], panel.parts)


def _score(desk: Desk, run: Any, condition: Any) -> None:
    with gr.Tab("Score", elem_id="tab-score"):
        item = _item("score")
        go, note = _go("score", "Score"), gr.Markdown(elem_id="score-note")
        picture = gr.Image(
            type="pil", format="png", interactive=False, show_label=False, elem_id="score-picture", buttons=PICTURE,
        )  # fmt: skip

        def act(name: str, number: int, text: str, picture: Any, file: Any, c: str) -> Any:
            return desk.score(name, item_of(desk, name, number, text, picture, file), c)

        go.click(refused(act, lambda reason: [None, plain_text(reason)]), [run, *item, condition], [picture, note])


def _training(desk: Desk, run: Any, condition: Any) -> None:
    with gr.Tab("Training", elem_id="tab-training"):
        live = gr.Checkbox(False, label="Live: every two seconds", elem_id="training-live")
        go, note = _go("training", "Show the curves"), gr.Markdown(elem_id="training-note")
        picture = gr.Image(type="pil", format="png", interactive=False, show_label=False, elem_id="training-picture",
                           buttons=PICTURE)  # fmt: skip
        timer = gr.Timer(2, active=False)
        live.change(lambda on: gr.Timer(active=on), live, timer)
        for event in (go.click, timer.tick):
            event(
                refused(desk.curves, lambda reason: [None, plain_text(reason)]),
                run,
                [picture, note],
                show_progress="hidden",
            )


def _report(desk: Desk, run: Any, condition: Any) -> None:
    with gr.Tab("Report", elem_id="tab-report"):
        folder = gr.Textbox("runs/demo", label="Folder of a comparison, or its report.html", elem_id="report-folder")
        go, frame = _go("report", "Open"), gr.HTML(elem_id="report-frame")
        go.click(refused(desk.report, markup.escape), folder, frame)


def launch(desk: Desk, host: str = "127.0.0.1", port: int = 8800, *, block: bool = True, browser: bool = False) -> Any:
    """Open the page; returns the Blocks, whose `close` ends it. Away from loopback a password is made and printed."""
    port = listening(host, port)
    made = page(desk)
    auth = None
    if host not in LOOPBACK:
        auth = ("pofx", secrets.token_urlsafe(12))
        print(f"user pofx, password {auth[1]}", file=sys.stderr, flush=True)
    plain = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    print(f"studio at http://{f'[{host}]' if ':' in host else host}:{port}\nCtrl-C ends", file=sys.stderr, flush=True)
    made.queue(default_concurrency_limit=1).launch(
        server_name=host,
        server_port=port,
        share=False,
        inbrowser=browser,
        auth=auth,
        quiet=True,
        prevent_thread_lock=not block,
        theme=plain,
        css=CSS,
        head=KEYS,
        ssr_mode=False,
        footer_links=[],
    )
    return made
