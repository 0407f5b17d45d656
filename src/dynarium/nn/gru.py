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
                both = b_in + F.pad(b[: 2 * self.gru.hidden_size], (0, self.gru.hidden_size))
                inputs = (
                    states.to(w_in.dtype) @ w_in.t().contiguous() + both
                )  # so its gradient is a product of wide rows
                b = b[2 * self.gru.hidden_size :]
                states = _Recurrence.apply(inputs, start.to(w.dtype), w, b, low)
        return states.transpose(0, 1)


_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


class _Recurrence(torch.autograd.Function):
    """The recurrence, given the inputs' share of the gates [t, b, 3 d]: all biases but that inside of the candidate.

    Backward, the steps pass on only the gradient of the state; that of the weights is one product over all steps. Every
    step works on arrays that stay in the cache. With ``low`` the products are in bfloat16; gates and states stay as they are.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, start: Tensor, weight: Tensor, bias: Tensor, low: bool) -> Tensor:
        t, b, width = inputs.shape
        d = width // 3
        kind = torch.bfloat16 if low else weight.dtype
        weight = weight.to(kind)
        states, gates = inputs.new_empty(t + 1, b, d), inputs.new_empty(t, b, width)
        inner = inputs.new_empty(t, b, d)
        states[0] = start
        for i in range(t):
            from_state = F.linear(states[i].to(kind), weight)
            torch.add(inputs[i, :, : 2 * d], from_state[:, : 2 * d], out=gates[i, :, : 2 * d]).sigmoid_()
            r, s, n = gates[i].split(d, -1)
            torch.add(from_state[:, 2 * d :], bias, out=inner[i])
            torch.addcmul(inputs[i, :, 2 * d :], r, inner[i], out=n).tanh_()
            torch.lerp(n, states[i], s, out=states[i + 1])
        ctx.save_for_backward(states, gates, inner, weight)
        return states[1:]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        states, gates, inner, weight = ctx.saved_tensors
        output = gradients[0]
        t, _, d = output.shape
        to_inputs, to_products = torch.empty_like(gates), torch.empty_like(gates, dtype=weight.dtype)
        state, part = torch.zeros_like(output[0]), torch.empty_like(output[0])
        to_bias = output.new_zeros(d)
        for i in range(t - 1, -1, -1):
            r, s, n = gates[i].split(d, -1)
            to_r, to_s, to_n = to_inputs[i].split(d, -1)
            total = output[i] + state
            torch.addcmul(total, total, s, value=-1, out=part)
            torch.mul(part, 1 - n * n, out=to_n)
            torch.sub(states[i], n, out=part).mul_(total)
            torch.mul(part, torch.addcmul(s, s, s, value=-1), out=to_s)
            torch.mul(to_n, inner[i], out=part)
            torch.mul(part, torch.addcmul(r, r, r, value=-1), out=to_r)
            torch.mul(to_n, r, out=part)
            to_bias += part.sum(0)
            to_products[i, :, : 2 * d] = to_inputs[i, :, : 2 * d]
            to_products[i, :, 2 * d :] = part
            state = torch.addcmul((to_products[i] @ weight).to(total.dtype), total, s)
        to_weight = to_products.flatten(0, 1).T @ states[:-1].flatten(0, 1).to(weight.dtype)
        return to_inputs, state, to_weight.to(output.dtype), to_bias, None
