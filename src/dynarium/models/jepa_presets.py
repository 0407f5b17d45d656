"""The joint-embedding methods by name: each a composition of the groups of ``JEPAConfig``."""

from dynarium.models.jepa import JEPAConfig
from dynarium.models.jepa_terms import AcrossSequences, Decoding, InverseDynamics, SIGReg, VICReg, WithinTrajectory


def jepa_vicreg() -> JEPAConfig:
    """VICReg at each step over the batch, the first one excepted; the published weights without noise (arXiv:2211.10831)."""
    return JEPAConfig(prediction=20.553, regularizer=VICReg(std=9.1378, cov=1.0))


def jepa_simclr() -> JEPAConfig:
    """Predictions contrasted with the encodings of other sequences at the same step (arXiv:2211.10831)."""
    return JEPAConfig(prediction=0.0, regularizer=AcrossSequences())


def jepa_idm() -> JEPAConfig:
    """Inverse dynamics alone, between the prediction of a step and the encoding of the next (arXiv:2211.10831)."""
    return JEPAConfig(prediction=0.0, regularizer=None, inverse_dynamics=InverseDynamics(between="rollout"))


def jepa_sigreg() -> JEPAConfig:
    """Prediction and SIGReg, no other heuristic (LeJEPA, arXiv:2511.08544; as a world model LeWM, arXiv:2603.19312)."""
    return JEPAConfig(prediction=1.0, regularizer=SIGReg(weight=0.09))


def jepa_pldm() -> JEPAConfig:
    """VICReg, slow features and inverse dynamics with the weights of PLDM (Sobal et al. 2025, arXiv:2502.14819).

    The published covariance term is divided by d (d - 1), not d: its weight is converted. Statistics are over all frames.
    """
    return JEPAConfig(
        prediction=1.0,
        regularizer=VICReg(std=3.98, cov=6.92 / 511, std_over_time=0.245, over="frames"),
        inverse_dynamics=InverseDynamics(weight=1.072, hidden=(512,)),
        temporal=0.742,
    )


def jepa_contrast() -> JEPAConfig:
    """Predictions contrasted with the other steps of the same sequence (Gulati & Nemenman 2026, arXiv:2606.07770)."""
    return JEPAConfig(prediction=0.0, regularizer=WithinTrajectory())


def jepa_random() -> JEPAConfig:
    """A network that is never trained: what the architecture alone gives."""
    return JEPAConfig(prediction=0.0, regularizer=None)


def jepa_supervised() -> JEPAConfig:
    """The same network trained on the true positions: what labels would give."""
    return JEPAConfig(prediction=0.0, regularizer=None, supervised=1.0)


def reconstruction() -> JEPAConfig:
    """Deterministic reconstruction: every frame is decoded from the open-loop prediction; no latent loss."""
    return JEPAConfig(prediction=0.0, regularizer=None, decoding=Decoding(of="rollout"))
