"""The joint-embedding methods by name: each a composition of the groups of ``JEPAConfig``."""

from dynarium.models.jepa import JEPAConfig
from dynarium.models.jepa_terms import VICReg


def jepa_vicreg() -> JEPAConfig:
    """VICReg at each step over the batch, the first one excepted (Sobal et al. 2022, arXiv:2211.10831)."""
    return JEPAConfig(prediction=20.553, regularizer=VICReg(std=9.1378, cov=1.0))
