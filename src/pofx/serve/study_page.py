"""The web page of a study: consent, one item or pair at a time by mouse or keys, results for whoever holds the key.

A page requests the next trial, loads its items by trial and side alone, and returns a choice with its time. Sources,
file names and positions never reach the browser.
"""

import hmac
import secrets
import sys
from pathlib import Path
from typing import Annotated, Any

from pofx.core.errors import PofxError, UsageError
from pofx.serve.ports import listening
from pofx.serve.study import CHOICES, Study
from pofx.serve.study_results import results

HERE = Path(__file__).parent


def app(study: Study, key: str) -> Any:
    """The FastAPI application of a study; `key` opens /results and /answers.csv.

    Raises:
        UsageError: the extra `serve` is not installed.
    """
    try:
        import fastapi
        from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
    except ImportError as error:
        raise UsageError("the page of a study needs the extra `serve`: pip install pofx[serve]") from error
    import jinja2
    from pydantic import BaseModel, Field

    class Answer(BaseModel):
        """A choice and its time since the item was visible."""

        trial: int = Field(examples=[17], ge=1, le=2**31)
        choice: str = Field(examples=["left"], max_length=20)
        milliseconds: int = Field(examples=[1250], ge=0, le=86_400_000)

    pages = jinja2.Environment(loader=jinja2.FileSystemLoader(HERE), autoescape=True)
    made = fastapi.FastAPI(title="pofx judge", docs_url=None, redoc_url=None, openapi_url=None)

    @made.exception_handler(PofxError)
    def refused(_: fastapi.Request, error: PofxError) -> Any:
        return JSONResponse({"error": str(error)}, 400)

    @made.get("/favicon.ico", status_code=204)
    def icon() -> None:
        """None: browsers request one beside every page."""

    @made.get("/", response_class=HTMLResponse)
    def start() -> str:
        return pages.get_template("study_start.html.j2").render(plan=study.plan)

    @made.post("/join")
    def join() -> Any:
        return RedirectResponse(f"/r/{study.join()}", 303)

    @made.get("/r/{token}", response_class=HTMLResponse)
    def rate(token: str) -> str:
        study.next(token)  # refuses an unknown rater
        page = pages.get_template("study_rate.html.j2")
        return page.render(plan=study.plan, choices=CHOICES[study.plan.protocol])

    @made.get("/r/{token}/next")
    def following(token: str) -> Any:
        return study.next(token) or {"trial": None}

    @made.get("/r/{token}/{trial}/{side}")
    def item(token: str, trial: int, side: str) -> Any:
        media, content = study.shown(token, trial, side)
        return Response(content, media_type=media, headers={"Cache-Control": "no-store"})

    @made.post("/r/{token}/answer")
    def answer(token: str, given: Answer) -> Any:
        study.answer(token, given.trial, given.choice, given.milliseconds)
        return study.next(token) or {"trial": None}

    def allowed(key_given: Annotated[str, fastapi.Query(alias="key")] = "") -> None:
        if not hmac.compare_digest(key_given.encode(), key.encode()):
            raise fastapi.HTTPException(403, "results need ?key=…, which `pofx judge` printed when it started")

    @made.get("/results", dependencies=[fastapi.Depends(allowed)])
    def report() -> Any:
        return results(study)

    @made.get("/answers.csv", dependencies=[fastapi.Depends(allowed)])
    def export() -> Any:
        return Response(study.answers().to_csv(index=False), media_type="text/csv")

    return made


def serve(study: Study, host: str, port: int) -> None:
    """Serve the page until Ctrl-C; the addresses are printed first.

    Raises:
        UsageError: the extra `serve` is not installed.
    """
    port = listening(host, port)
    key = secrets.token_urlsafe(12)
    made = app(study, key)
    import uvicorn

    at = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    print(f"raters:  {at}/\nresults: {at}/results?key={key}\nCtrl-C ends", file=sys.stderr, flush=True)
    uvicorn.run(made, host=host, port=port, log_level="warning")
