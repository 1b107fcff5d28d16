"""How likely a model says the answers: its output layer runs only where an answer's token comes next, piece by piece.

A base spends a fifth of its time and most of its memory on logits: places times 50,000 to 150,000 words, several times
over. Prompts need none, and for answers only one piece of them has to be there at a time: the gradient with respect to
the hidden states is calculated with the piece, and the logits are forgotten.

Imported by those who train, who have torch loaded already.
"""

import types
from typing import Any, Final

import torch

from training.batches import IGNORED

_PIECE_BYTES: Final = {"cpu": 64 * 1024**2, "cuda": 512 * 1024**2}
"""Of logits in float32 at a time. GPUs are slow at small pieces."""
# What some architectures do to logits after their output layer, by the names of transformers' configurations.
_PROCESSED_BY: Final = (
    "final_logit_softcapping",
    "logit_scale",
    "output_multiplier",
    "lm_head_multiplier",
    "logits_scaling",
)


def teach_answer_logps(model: Any) -> None:
    """Let a causal model be called with `answer_labels`, for the log-probabilities of these tokens; else as before.

    `answer_labels` names each place's next token, or IGNORED; what comes back stands in the places' order.
    """
    whole = model.forward

    def forward(self: Any, *args: Any, answer_labels: Any = None, **kwargs: Any) -> Any:
        if answer_labels is None:
            return whole(*args, **kwargs)
        places = answer_labels != IGNORED
        targets = answer_labels[places]
        head = self.get_output_embeddings()
        kwargs["use_cache"] = False
        if not _is_plain(self.config, head):
            logits = whole(*args, **kwargs).logits[places].float()
            return logits.gather(1, targets[:, None])[:, 0] - logits.logsumexp(1)
        hidden = self.base_model(*args, **kwargs).last_hidden_state[places]
        return _AnswerLogps.apply(hidden, _gathered(head.weight), _gathered(head.bias), targets)

    # The signature of before: transformers looks at it.
    model.forward = types.MethodType(forward, model)


def _gathered(tensor: Any) -> Any:
    """All of a tensor of which FSDP holds a part here."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def _is_plain(config: Any, head: Any) -> bool:
    """Whether logits are the output layer's product and nothing else, the layer itself not being trained."""
    text = config.get_text_config()
    is_processed = any(getattr(text, name, None) not in (None, 1, 1.0) for name in _PROCESSED_BY)
    return type(head) is torch.nn.Linear and not head.weight.requires_grad and not is_processed


class _AnswerLogps(torch.autograd.Function):  # type: ignore[misc]
    """Log-probability of each target under softmax(hidden @ weight.T + bias), differentiable in `hidden`."""

    @staticmethod
    def forward(ctx: Any, hidden: Any, weight: Any, bias: Any, targets: Any) -> Any:
        weight = weight.to(hidden.dtype)
        bias = bias.to(hidden.dtype) if bias is not None else None
        logps = hidden.new_empty(len(targets), dtype=torch.float32)
        gradient = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        places = max(1, _PIECE_BYTES.get(hidden.device.type, _PIECE_BYTES["cpu"]) // (4 * weight.shape[0]))
        with torch.autocast(hidden.device.type, enabled=False):
            for begin in range(0, len(targets), places):
                piece = slice(begin, begin + places)
                logits = torch.nn.functional.linear(hidden[piece], weight, bias).float()
                normaliser = logits.logsumexp(1, keepdim=True)
                chosen = targets[piece, None]
                logps[piece] = (logits.gather(1, chosen) - normaliser)[:, 0]
                if gradient is not None:
                    # d logp / d logits = [is target] - softmax.
                    slope = logits.sub_(normaliser).exp_().neg_()
                    slope.scatter_add_(1, chosen, torch.ones_like(chosen, dtype=slope.dtype))
                    gradient[piece] = slope.to(hidden.dtype) @ weight
        ctx.save_for_backward(gradient)
        return logps

    @staticmethod
    def backward(ctx: Any, outer: Any) -> Any:
        (gradient,) = ctx.saved_tensors
        return (outer[:, None] * gradient).to(gradient.dtype), None, None, None
