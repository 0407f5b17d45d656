"""Models: one readable file per family; parameters and wiring.

A configuration is a frozen dataclass with ``fitted(shapes)`` (fill in what the data decides: frame and action shapes,
``shapes`` maps a field to the shape of one sequence) and ``build()`` (create the model).
"""

from typing import Any, Protocol, runtime_checkable

from dynarium.registry import Registry

MODELS = Registry(
    "model",
    {
        "ae-rnn": "dynarium.models.pixel_rnn:ae_rnn",
        "dkf": "dynarium.models.dkf:DKFConfig",
        "flow-video": "dynarium.models.flow_video:FlowVideoConfig",
        "jepa-contrast": "dynarium.models.jepa_presets:jepa_contrast",
        "jepa-idm": "dynarium.models.jepa_presets:jepa_idm",
        "jepa-pldm": "dynarium.models.jepa_presets:jepa_pldm",
        "jepa-random": "dynarium.models.jepa_presets:jepa_random",
        "jepa-sigreg": "dynarium.models.jepa_presets:jepa_sigreg",
        "jepa-simclr": "dynarium.models.jepa_presets:jepa_simclr",
        "jepa-supervised": "dynarium.models.jepa_presets:jepa_supervised",
        "jepa-vicreg": "dynarium.models.jepa_presets:jepa_vicreg",
        "kvae": "dynarium.models.kvae:KVAEConfig",
        "lstm-identifier": "dynarium.models.sequence_identifier:lstm_identifier",
        "one-step-transformer": "dynarium.models.one_step_transformer:OneStepTransformerConfig",
        "per-task": "dynarium.models.per_task:PerTaskConfig",
        "reconstruction": "dynarium.models.jepa_presets:reconstruction",
        "residual-identifier": "dynarium.models.residual_identifier:ResidualIdentifierConfig",
        "rssm": "dynarium.models.rssm:RSSMConfig",
        "simulation-transformer": "dynarium.models.simulation_transformer:SimulationTransformerConfig",
        "slds": "dynarium.models.slds:SLDSConfig",
        "slvm": "dynarium.models.slvm:SLVMConfig",
        "state-space-identifier": "dynarium.models.sequence_identifier:state_space_identifier",
        "srvp": "dynarium.models.srvp:SRVPConfig",
        "svg-deterministic": "dynarium.models.svg:svg_deterministic",
        "svg-fp": "dynarium.models.svg:svg_fp",
        "svg-lp": "dynarium.models.svg:svg_lp",
        "svg-prime": "dynarium.models.svg_prime:SVGPrimeConfig",
        "switching-kvae": "dynarium.models.switching_kvae:SwitchingKVAEConfig",
        "vae-rnn": "dynarium.models.pixel_rnn:vae_rnn",
    },
)


@runtime_checkable
class ModelConfig(Protocol):
    """What a recipe holds of a model before there are parameters."""

    def fitted(self, shapes: dict[str, tuple[int, ...]]) -> "ModelConfig":
        """Return the configuration with the shapes of the data filled in."""
        ...

    def build(self) -> Any:
        """Create the model with fresh parameters."""
        ...
