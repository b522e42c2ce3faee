"""The pictures of the pages on uses: `python docs/pictures.py forecast …` writes docs/uses/pictures/.

They are drawn from short trainings and are not part of the repository: they depend on the machine.
"""

import sys
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent / "uses" / "pictures"


def forecast() -> None:
    """Futures of prey and predators."""
    from pofx.apps.forecaster import Forecaster
    from pofx.data.dynamics import SYSTEMS
    from pofx.data.series import series

    path = series(SYSTEMS["lotka-volterra"].series(3000))
    model = Forecaster(26, context=1, block=1, minutes=0.3).fit(path[:2900])
    model.simulate(path[:2900], 200).plot(HERE / "forecast.png", path[:2900])


def multimodal() -> None:
    """Pictures given captions."""
    import numpy as np

    from pofx.apps.joint import Joint
    from pofx.data.captioned_tiles import sheet, tiles

    pictures, captions = tiles(4000)
    joint = Joint(minutes=1.0).fit({"caption": captions, "picture": pictures})
    wanted = np.repeat(captions[:4], 8, 0)
    sheet(joint.sample(32, {"caption": wanted})["picture"], HERE / "multimodal.png")


def shapes() -> None:
    """Clips of bouncing sprites that are continued."""
    from pofx.apps import video
    from pofx.data.moving import moving

    clips, _ = moving(1000)
    run, _ = video.learn(clips, minutes=1.0)
    video.gif(video.continued(run, clips[-6:], 10), HERE / "shapes.gif")


DRAWN: dict[str, Callable[[], None]] = {"forecast": forecast, "multimodal": multimodal, "shapes": shapes}


def main(names: list[str]) -> None:
    HERE.mkdir(exist_ok=True, parents=True)
    for name in names or DRAWN:
        DRAWN[name]()
        print(HERE, name)


if __name__ == "__main__":
    main(sys.argv[1:])
