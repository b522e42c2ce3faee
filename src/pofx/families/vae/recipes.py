"""Autoencoders of the literature as choices of `vae`: of its KL term, bound, prior, posterior or regulariser.

What serves to separate factors has a standard normal prior, as in its source.
"""

from pofx.core.model import Recipe

RECIPES = (
    Recipe(
        "beta-vae",
        "Higgins et al., 2017; Burgess et al., 2018, arXiv 1804.03599",
        {"beta": 4.0, "prior": "normal"},
        summary="VAE with a heavier KL term: factors separate.",
    ),
    Recipe(
        "beta-tcvae",
        "Chen et al., 2018, arXiv 1802.04942",
        {"regulariser": "tc", "strength": 5.0, "prior": "normal"},
        summary="VAE with a heavier total correlation of codes.",
    ),
    Recipe(
        "factor-vae",
        "Kim and Mnih, 2018, arXiv 1802.05983",
        {"regulariser": "factor", "strength": 10.0, "prior": "normal"},
        summary="VAE whose total correlation a critic estimates.",
    ),
    Recipe(
        "dip-vae",
        "Kumar et al., 2018, arXiv 1711.00848",
        {"regulariser": "dip-ii", "strength": 10.0, "prior": "normal"},
        summary="VAE whose codes have the identity as covariance.",
    ),
    Recipe(
        "iwae",
        "Burda et al., 2016, arXiv 1509.00519",
        {"particles": 16},
        summary="VAE trained on the importance-weighted bound.",
    ),
    Recipe(
        "dreg",
        "Tucker et al., 2019, arXiv 1810.04152",
        {"particles": 16, "estimator": "dreg"},
        summary="IWAE with doubly reparametrised gradients.",
    ),
    Recipe(
        "vamp-vae",
        "Tomczak and Welling, 2018, arXiv 1705.07120",
        {"prior": "vamp"},
        summary="VAE with a mixture of posteriors as prior.",
    ),
    Recipe(
        "flow-vae",
        "Rezende and Mohamed, 2015, arXiv 1505.05770; Kingma et al., 2016, arXiv 1606.04934",
        {"prior": "maf", "posterior": "iaf"},
        summary="VAE with flows as posterior and prior.",
    ),
    Recipe(
        "cvae",
        "Sohn et al., 2015",
        {"prior": "conditional"},
        summary="VAE with a prior that depends on the condition.",
    ),
    Recipe(
        "wae",
        "Tolstikhin et al., 2018, arXiv 1711.01558",
        {"regulariser": "mmd", "strength": 100.0, "beta": 0.0, "prior": "normal"},
        summary="Wasserstein autoencoder: codes match the prior.",
    ),
    Recipe(
        "vae-gan",
        "Larsen et al., 2016, arXiv 1512.09300",
        {"adversary": 0.5, "prior": "normal"},
        summary="VAE with a critic of what it decodes.",
    ),
)
