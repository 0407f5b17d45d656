"""Checkpoints of the original code of stochastic video generation, and of the fork for fabrics (Hoque et al. 2020).

Two forms are read, none is executed (``restricted_pickle``): pickled networks, and state dicts beside a ``Namespace`` of
options. Both are mappings with the keys encoder, decoder, frame_predictor, posterior, prior (SVG-LP), act_embed (embedded
actions) and opt. Neither holds a state of the optimisers, so that they serve questions and further training from their weights.
"""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from dynarium.errors import UserError
from dynarium.models.restricted_pickle import BinaryFile, Record, read_checkpoint
from dynarium.models.svg import SVG, SVGConfig
from dynarium.objectives.schedules import Constant

RECORDS = (
    "argparse",
    "models.",
    "svg.",
    "torch.nn.modules.",
    "torch.nn.backends.",
    "torch.autograd.",
    "torch.optim.",
)
"""Modules whose names may stand in a checkpoint: the options, networks, layers, and the class of the optimiser."""

RECURRENT = {
    r"embed\.": "embed.",
    r"lstm\.(\d+)\.(weight_ih|weight_hh|bias_ih|bias_hh)": r"lstm.\2_l\1",
    r"output\.0\.": "output.",
    r"mu_net\.": "mean.",
    r"logvar_net\.": "log_variance.",
    r"fc1\.": "0.",
    r"fc2\.": "2.",
}
"""Names of the recurrent parts and of the embedding of actions, old and new."""

ACTIONS = {1: "raw", 2: "embedded"}


def load_svg_checkpoint(file: BinaryFile) -> SVG:
    """Return the model of an original checkpoint, its options and weights, in eval mode.

    Its batch normalisation uses the running averages of the file, and its skip connections are the mended ones; the authors
    sampled with ``statistics="batch"`` and ``skips="paper"``.

    Args:
        file: The file, opened in binary mode.

    Raises:
        UserError: The file is not readable, names what it should not, or does not fit the options that it holds.
    """
    content = read_checkpoint(file, RECORDS)
    needed = ("encoder", "decoder", "frame_predictor", "posterior", "opt")
    if not isinstance(content, Mapping) or any(name not in content for name in needed):
        held = ", ".join(map(str, content)) if isinstance(content, Mapping) else type(content).__name__
        raise UserError(f"checkpoint: expected the keys {', '.join(needed)}; it holds {held}")
    model = _config(content).build()
    parts: dict[str, nn.Module | None] = {
        "encoder": model.encoder,
        "decoder": model.decoder,
        "frame_predictor": model.predictor,
        "posterior": model.posterior,
        "prior": model.prior,
        "act_embed": model.actions,
    }
    for name, network in parts.items():
        if network is None:
            continue
        weights = _state(content[name])
        renamed = _by_order(weights, network) if name in ("encoder", "decoder") else _by_name(weights)
        try:
            network.load_state_dict(renamed)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1].strip()
            raise UserError(f"checkpoint: {name} does not fit the options of the file: {reason}") from error
    return model.eval()


def _config(content: Mapping[str, Any]) -> SVGConfig:
    """Return the options of the file under our names; in the first releases ``rnn_layers`` was one number for all networks."""
    options = content["opt"]
    options = dict(options) if isinstance(options, Mapping) else dict(vars(options))

    def of(name: str, default: Any = None) -> Any:
        value = options.get(name, default)
        if value is None:
            raise UserError(f"checkpoint: its options lack {name!r}")
        return value

    side, acting = int(of("image_width", 64)), bool(options.get("action_cond", False))
    learned = "prior" in content and content["prior"] is not None
    return SVGConfig(
        frame=(int(of("channels", 1)), side, side),
        control=int(of("act_dim", 4)) if acting else 0,
        actions=ACTIONS[int(of("act_design", 1))] if acting else "none",  # pyright: ignore[reportArgumentType]
        prior="learned" if learned else "fixed",
        backbone=of("model", "dcgan"),
        embedding=int(of("g_dim")),
        latent=int(of("z_dim")),
        hidden=int(of("rnn_size")),
        predictor_layers=int(of("predictor_rnn_layers", of("rnn_layers", 2))),
        posterior_layers=int(of("posterior_rnn_layers", of("rnn_layers", 1))),
        prior_layers=int(of("prior_rnn_layers", of("rnn_layers", 1))),
        context=int(of("n_past")),
        last_frame_skip=bool(options.get("last_frame_skip", False)),
        beta=Constant(value=float(of("beta", 1e-4))),
    )


def _state(network: Any, prefix: str = "") -> dict[str, Tensor]:
    """Return the named tensors of a state dict, or of the record of a pickled network."""
    if isinstance(network, Mapping):
        return {str(name): value for name, value in network.items() if isinstance(value, Tensor)}
    if not isinstance(network, Record):
        raise UserError(f"checkpoint: expected a network or its weights, got {type(network).__name__}")
    found: dict[str, Tensor] = {}
    held = vars(network)
    for group in ("_parameters", "_buffers"):
        for name, value in (held.get(group) or {}).items():
            if isinstance(value, Tensor):
                found[prefix + name] = value
    for name, child in (held.get("_modules") or {}).items():
        if child is not None:
            found |= _state(child, f"{prefix}{name}.")
    return found


def _by_name(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    renamed = {}
    for name, value in weights.items():
        for old, new in RECURRENT.items():
            name = re.sub(f"^{old}", new, name)
        renamed[name] = value
    return renamed


def _by_order(weights: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Return the weights of an encoder or decoder under our names: both list the same layers in the same order."""

    def layers(names: list[str]) -> list[str]:
        return list(dict.fromkeys(name.rpartition(".")[0] for name in names))

    theirs = {name: value for name, value in weights.items() if not name.endswith("num_batches_tracked")}
    old, new = layers(list(theirs)), layers(list(network.state_dict()))
    if len(old) != len(new):
        raise UserError(f"checkpoint: {len(new)} layers wanted by the options of the file, got {len(old)}")
    match = dict(zip(old, new, strict=True))
    return {f"{match[layer]}.{leaf}": theirs[f"{layer}.{leaf}"] for layer, _, leaf in map(_parted, theirs)}


def _parted(name: str) -> tuple[str, str, str]:
    return name.rpartition(".")
