"""The historical GANs as choices of parts of one core, each with its paper; sizes are those that a CPU trains."""

from pofx.core.model import Default, Recipe

RECIPES = (
    Recipe(
        "gan",
        "Goodfellow et al., 2014, arXiv 1406.2661",
        {"architecture": "mlp", "loss": "non-saturating", "penalty": "none", "units": 256, "candidates": 1},
        {"lr": 2e-4, "betas": [0.5, 0.99]},
        summary="Perceptrons against each other, the first of all: may lose modes.",
    ),
    Recipe(
        "dcgan",
        "Radford et al., 2015, arXiv 1511.06434",
        {"architecture": "transposed", "loss": "non-saturating", "penalty": "none", "latent": 100, "width": 32,
         "norm": "batch", "critic_rate": 0.125},  # at equal rates the critic soon wins
        {"lr": 1.6e-3, "betas": [0.5, 0.999]},
        summary="Transposed convolutions with batch normalisation.",
    ),
    Recipe(
        "lsgan",
        "Mao et al., 2017, arXiv 1611.04076",
        {"architecture": "transposed", "loss": "least-squares", "penalty": "none", "latent": 100, "width": 32,
         "norm": "batch", "critic_rate": 0.125},  # at equal rates the critic soon wins
        {"lr": 1.6e-3, "betas": [0.5, 0.999]},
        summary="The DCGAN with least-squares losses.",
    ),
    Recipe(
        "wgan",
        "Arjovsky et al., 2017, arXiv 1701.07875",
        {"architecture": "transposed", "loss": "wasserstein", "penalty": "clip", "latent": 100, "width": 32,
         "norm": "batch", "critic_steps": 2, "matching": 3.0},  # with 5 steps and 1, classes came and went
        {"lr": 8e-4, "betas": [0.0, 0.9]},
        summary="Wasserstein loss, critic with clipped weights.",
    ),
    Recipe(
        "wgan-gp",
        "Gulrajani et al., 2017, arXiv 1704.00028",
        {"architecture": "transposed", "loss": "wasserstein", "penalty": "gradient", "latent": 100, "width": 32,
         "every": 1},  # five steps of the critic for one in the paper; of the generator there are more in a time
        {"lr": 8e-4, "betas": [0.0, 0.9]},
        summary="Wasserstein loss, critic with a gradient penalty.",
    ),
    Recipe(
        "sngan",
        "Miyato et al., 2018, arXiv 1802.05957",
        {"architecture": "spectral", "loss": "hinge", "penalty": "none", "latent": 128, "width": 64,
         "spectral": "critic", "critic_rate": 2.0, "centre_features": True, "tapered": True},
        {"lr": 4e-4, "betas": [0.0, 0.9]},  # two rates in place of five steps (Heusel et al., 2017, arXiv 1706.08500)
        summary="Residual nets, hinge loss, spectral norms in the critic.",
    ),
    Recipe(
        "sagan",
        "Zhang et al., 2019, arXiv 1805.08318",
        {"architecture": "spectral", "loss": "hinge", "penalty": "none", "latent": 128, "width": 48,
         "spectral": "both", "attention": True, "critic_rate": 4.0,
         "centre_features": True},
        {"lr": 3e-4, "betas": [0.0, 0.9]},
        summary="SNGAN with self-attention and spectral norms on both sides.",
    ),
    Recipe(
        "biggan",
        "Brock et al., 2019, arXiv 1809.11096",
        {"architecture": "split", "loss": "hinge", "penalty": "none", "latent": 120, "width": 48,
         "spectral": "both", "attention": True, "critic_steps": 2, "critic_rate": 4.0,
         "centre_features": True},
        {"lr": 2e-4, "betas": [0.0, 0.999]},
        summary="SAGAN whose blocks each read a part of the noise.",
    ),
    Recipe(
        "progan",
        "Karras et al., 2018, arXiv 1710.10196",
        {"architecture": "progressive", "loss": "wasserstein", "penalty": "gradient", "every": 1, "group": 4,
         "growth": 5_000},
        {"lr": 5e-3, "betas": [0.0, 0.99]},
        summary="Resolutions fade in one after the other.",
    ),
    Recipe(
        "stylegan",
        "Karras et al., 2019, arXiv 1812.04948",
        {"architecture": "style", "loss": "non-saturating", "penalty": "r1", "blocks": 2, "group": 4,
         "mixing": 0.5},
        {"lr": 4e-3, "betas": [0.0, 0.99]},
        summary="A code w steers every layer by instance normalisation.",
    ),
    Recipe(
        "stylegan2",
        "Karras et al., 2020, arXiv 1912.04958",
        # neither mixing nor path_length, as its authors set it for small pictures (arXiv 2006.06676)
        {"architecture": "style2", "loss": "non-saturating", "penalty": "r1", "blocks": 2, "group": 4},
        {"lr": 4e-3, "betas": [0.0, 0.99]},  # of equalised weights, whose size is 1
        summary="Modulated convolutions, outputs of all sizes added up.",
    ),
    Recipe(
        "pix2pix",
        "Isola et al., 2017, arXiv 1611.07004",
        {"architecture": "unet", "loss": "non-saturating", "penalty": "none", "width": 48, "l1": 100.0,
         "inversion": "optimisation"},
        {"lr": 5e-4, "betas": [0.5, 0.999], "batch_size": 32},
        summary="Image to image: U-Net, critic of patches, L1 (paired).",
    ),
    Recipe(
        "wavegan",
        "Donahue et al., 2019, arXiv 1802.04208",
        {"architecture": "wave", "loss": "wasserstein", "penalty": "gradient", "gamma": 10.0, "latent": 100,
         "width": 16, "critic_steps": 2, "every": 2},  # 5 and 1 in the paper: as for wgan-gp
        {"lr": 4e-4, "betas": [0.5, 0.9]},
        summary="Signals, by long kernels and a critic with phase shuffle.",
        view="waveform",
    ),
    Recipe("r3gan", "Huang et al., 2024, arXiv 2501.05441", {}, default_for=(Default(),),
        summary="Relativistic pairs with R1 and R2: converges, covers modes."),
)  # fmt: skip
