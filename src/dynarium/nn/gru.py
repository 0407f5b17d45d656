"""A GRU that runs open loop from a given state, with a backward pass that gathers the gradient of its weights at the end."""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class OpenLoopGRU(nn.Module):
    """The gated recurrent unit (Cho et al. 2014) as a predictor: the first hidden state is given, the inputs are actions.

    The equations and parameters are those of ``torch.nn.GRU``:

        r = sigmoid(W_ir u + b_ir + W_hr h + b_hr),    s = sigmoid(W_iz u + b_iz + W_hz h + b_hz)
        n = tanh(W_in u + b_in + r (W_hn h + b_hn)),   h' = (1 - s) n + s h

    792,576 parameters for 2 inputs and 512 units. All layers begin at the given state; the last one's states are returned.
    """

    def __init__(self, inputs: int, hidden: int, layers: int = 1) -> None:
        super().__init__()
        self.layers = layers
        self.gru = nn.GRU(inputs, hidden, layers, batch_first=True)

    def forward(self, start: Float[Tensor, "b d"], u: Float[Tensor, "b t a"]) -> Float[Tensor, "b t d"]:
        """Return the state after each input."""
        if start.device.type != "cpu":
            return self.gru(u, start.expand(self.layers, -1, -1).contiguous())[0]
        low = torch.is_autocast_enabled("cpu")
        states = u.transpose(0, 1)
        with torch.autocast("cpu", enabled=False):
            for layer in range(self.layers):
                w_in, w, b_in, b = (getattr(self.gru, f"{name}_l{layer}") for name in _NAMES)
                inputs = F.linear(states.to(w_in.dtype), w_in, b_in)
                states = _Recurrence.apply(inputs, start.to(w.dtype), w, b, low)
        return states.transpose(0, 1)


_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


class _Recurrence(torch.autograd.Function):
    """The recurrence, given the inputs' share of the gates [t, b, 3 d].

    Backward, the steps pass on only the gradient of the state; those of the weights are one product over all steps.
    With ``low`` the products are in bfloat16; gates and states stay as they are.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, start: Tensor, weight: Tensor, bias: Tensor, low: bool) -> Tensor:
        t, b, width = inputs.shape
        d = width // 3
        kind = torch.bfloat16 if low else weight.dtype
        transposed = weight.to(kind).T
        states, gates = inputs.new_empty(t + 1, b, d), inputs.new_empty(t, b, width)
        recurrent = inputs.new_empty(t, b, d)
        states[0] = start
        for i in range(t):
            from_state = (states[i].to(kind) @ transposed).to(bias.dtype) + bias
            torch.add(inputs[i, :, : 2 * d], from_state[:, : 2 * d], out=gates[i, :, : 2 * d]).sigmoid_()
            r, s, n = gates[i].split(d, -1)
            recurrent[i] = from_state[:, 2 * d :]
            torch.addcmul(inputs[i, :, 2 * d :], r, recurrent[i], out=n).tanh_()
            torch.lerp(n, states[i], s, out=states[i + 1])
        ctx.save_for_backward(states, gates, recurrent, weight)
        ctx.kind = kind
        return states[1:]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        states, gates, recurrent, weight = ctx.saved_tensors
        output = gradients[0]
        t, b, d = output.shape
        low = weight.to(ctx.kind)
        r, s, n = gates.split(d, -1)
        # What the pre-activations' gradients are per unit of the state's: everything that is known before the loop.
        of_n = (1 - s) * (1 - n.square())
        of_s = (states[:-1] - n) * s * (1 - s)
        of_r = of_n * recurrent * r * (1 - r)
        of_recurrent = of_n * r
        scale = torch.cat([of_r, of_s, of_recurrent], -1)
        to_gates = torch.empty_like(gates, dtype=ctx.kind)
        state = torch.zeros_like(output[0])
        total = torch.empty_like(output)
        for i in range(t - 1, -1, -1):
            torch.add(output[i], state, out=total[i])
            to_gates[i] = (scale[i].view(b, 3, d) * total[i][:, None]).view(b, 3 * d)
            state = torch.addcmul((to_gates[i] @ low).to(state.dtype), total[i], s[i])
        to_weight = to_gates.flatten(0, 1).T @ states[:-1].flatten(0, 1).to(ctx.kind)
        to_inputs = torch.cat([to_gates[..., : 2 * d].to(output.dtype), total * of_n], -1)
        to_bias = to_gates.flatten(0, 1).sum(0, dtype=output.dtype)
        return to_inputs, state, to_weight.to(weight.dtype), to_bias, None
