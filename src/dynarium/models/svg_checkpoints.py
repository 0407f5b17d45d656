"""Checkpoints of the original code of stochastic video generation, and of the fork for fabrics (Hoque et al. 2020).

Two forms are read, none is executed (``restricted_pickle``): pickled networks, and state dicts beside a ``Namespace`` of
options. Both are mappings with the keys encoder, decoder, frame_predictor, posterior, prior (SVG-LP), act_embed (embedded
actions) and opt. Neither holds a state of the optimisers, so that they serve questions and further training from their weights.
"""

import contextlib
import re
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

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

ACTIONS: dict[int, Literal["raw", "embedded"]] = {1: "raw", 2: "embedded"}

ValueT = TypeVar("ValueT", int, float, str)


def load_svg_checkpoint(file: BinaryFile) -> SVG:
    """Return the model of an original checkpoint, its options and weights, in eval mode: see ``read_svg_checkpoint``."""
    return read_svg_checkpoint(file)[0]


def read_svg_checkpoint(file: BinaryFile) -> tuple[SVG, dict[str, Any]]:
    """Return the model of an original checkpoint in eval mode, and all options of the file under their own names.

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
    options = _options(content["opt"])
    model = _config(options, learned=content.get("prior") is not None).build()
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
        if name not in content:
            raise UserError(f"checkpoint: its options want {name!r}; it holds {', '.join(map(str, content))}")
        weights = _state(content[name])
        renamed = _by_order(weights, network) if name in ("encoder", "decoder") else _by_name(weights)
        try:
            network.load_state_dict(renamed)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1].strip()
            raise UserError(f"checkpoint: {name} does not fit the options of the file: {reason}") from error
    return model.eval(), options


def option(options: Mapping[str, Any], name: str, kind: type[ValueT], default: ValueT | None = None) -> ValueT:
    """Return an option of a checkpoint.

    Raises:
        UserError: It is not there and has no default, or is of another kind.
    """
    value = options.get(name, default)
    if value is None:
        raise UserError(f"checkpoint: its options lack {name!r}")
    if isinstance(value, int | float | str):
        with contextlib.suppress(ValueError, OverflowError):
            return kind(value)
    seen = repr(value) if isinstance(value, int | float | str) else type(value).__name__
    raise UserError(f"checkpoint: its option {name!r}: expected {kind.__name__}, got {seen}")


def _options(given: Any) -> dict[str, Any]:
    if not isinstance(given, Mapping | Record):
        raise UserError(f"checkpoint: expected options under 'opt', got {type(given).__name__}")
    return {str(name): value for name, value in (given if isinstance(given, Mapping) else vars(given)).items()}


def _config(options: Mapping[str, Any], learned: bool) -> SVGConfig:
    """Return the options of the file under our names; in the first releases ``rnn_layers`` was one number for all networks."""

    def number(name: str, default: int | None = None) -> int:
        return option(options, name, int, default)

    side, acting, design = number("image_width", 64), bool(options.get("action_cond", False)), number("act_design", 1)
    if acting and design not in ACTIONS:
        raise UserError(f"checkpoint: its option 'act_design': expected 1 or 2, got {design}")
    backbone = option(options, "model", str, "dcgan")
    if backbone != "dcgan" and backbone != "vgg":
        raise UserError(f"checkpoint: its option 'model': expected dcgan or vgg, got {backbone!r}")
    return SVGConfig(
        frame=(number("channels", 1), side, side),
        control=number("act_dim", 4) if acting else 0,
        actions=ACTIONS[design] if acting else "none",
        prior="learned" if learned else "fixed",
        backbone=backbone,
        embedding=number("g_dim"),
        latent=number("z_dim"),
        hidden=number("rnn_size"),
        predictor_layers=number("predictor_rnn_layers", number("rnn_layers", 2)),
        posterior_layers=number("posterior_rnn_layers", number("rnn_layers", 1)),
        prior_layers=number("prior_rnn_layers", number("rnn_layers", 1)),
        context=number("n_past"),
        last_frame_skip=bool(options.get("last_frame_skip", False)),
        beta=Constant(value=option(options, "beta", float, 1e-4)),
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
    renamed = {}
    for name, value in theirs.items():
        layer, _, leaf = name.rpartition(".")
        renamed[f"{match[layer]}.{leaf}"] = value
    return renamed
