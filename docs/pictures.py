"""The pictures of the pages on uses: `python docs/pictures.py forecast …` writes docs/uses/pictures/*.png.

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


DRAWN: dict[str, Callable[[], None]] = {"forecast": forecast}


def main(names: list[str]) -> None:
    HERE.mkdir(exist_ok=True, parents=True)
    for name in names or DRAWN:
        DRAWN[name]()
        print(HERE / f"{name}.png")


if __name__ == "__main__":
    main(sys.argv[1:])
