"""Historical models that are choices of path, prediction, times and sampler: constructor values of `Diffusion`."""

from pofx.core.event import Bounded
from pofx.core.model import Default, Recipe

RECIPES = (
    Recipe(
        "flow-matching",
        "Lipman et al., 2023, arXiv 2210.02747; Liu et al., 2023, arXiv 2209.03003",
        {"path": "linear", "prediction": "velocity"},
        summary="Straight paths from noise to data, sampled in few steps.",
        default_for=(Default(Bounded, 3), Default()),
    ),
    Recipe(
        "ddpm",
        "Ho et al., 2020, arXiv 2006.11239",
        {"path": "vp-linear", "prediction": "epsilon", "sampler": "ancestral", "sampler_steps": 100},
        summary="Predicts the noise; random sampler of many small steps.",
    ),
    Recipe(
        "iddpm",
        "Nichol and Dhariwal, 2021, arXiv 2102.09672",
        {
            "path": "vp-cosine",
            "prediction": "epsilon",
            "variance": "learned",
            "sampler": "ancestral",
            "sampler_steps": 50,
        },
        summary="Cosine schedule; the variance of steps is learned.",
    ),
    Recipe(
        "ncsn",
        "Song and Ermon, 2019, arXiv 1907.05600; Song and Ermon, 2020, arXiv 2006.09011",
        {"path": "ve", "prediction": "score", "sampler": "predictor-corrector", "sampler_steps": 100},
        summary="Score of data under growing noise; Langevin steps.",
    ),
    Recipe(
        "score-sde",
        "Song et al., 2021, arXiv 2011.13456",
        {"path": "sub-vp", "prediction": "score", "sampler": "predictor-corrector", "sampler_steps": 100},
        summary="A stochastic differential equation, reversed.",
    ),
    Recipe(
        "edm",
        "Karras et al., 2022, arXiv 2206.00364",
        {"path": "edm", "prediction": "v", "times": "log-normal", "sampler": "heun", "sampler_steps": 18},
        summary="Preconditioned denoiser, log-normal noise levels.",
    ),
    Recipe(
        "vdm",
        "Kingma et al., 2021, arXiv 2107.00630; Zheng et al., 2023, arXiv 2305.03935",
        {
            "path": "cosine",
            "prediction": "v",
            "times": "learned",
            "scoring": "bound",
            "sampler": "ancestral",
            "sampler_steps": 100,
        },
        summary="Its loss is a bound on log p; learned noise schedule.",
    ),
    Recipe(
        "ot-flow-matching",
        "Tong et al., 2024, arXiv 2302.00482; Pooladian et al., 2023, arXiv 2304.14772",
        {"coupling": "ot", "sampler": "heun", "sampler_steps": 8},
        summary="Flow matching whose noises lie near their items.",
    ),
    Recipe(
        "jit",
        "Li and He, 2025, arXiv 2511.13720",
        {"network": "dit", "output": "data", "depth": 6, "times": "logit-normal"},
        trains_with={"lr": 1e-3},
        summary="Transformer of large patches that gives the data.",
    ),
)
