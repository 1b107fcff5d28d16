"""What a model answers, greedily: the same rows give the same answers, in batches of any size."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from training.rows import Message


@dataclass(frozen=True, slots=True)
class Said:
    """One answer."""

    text: str
    is_whole: bool
    """Whether the model came to the end of its turn, and was not cut off by the longest answer allowed."""


def answers_to(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[Message]],
    *,
    batch_size: int,
    max_new_tokens: int,
    say_done: Callable[[int], None] = lambda _: None,
) -> list[Said]:
    """Answer each prompt, in the order given. `say_done` hears how many are answered, after each batch."""
    import torch
    from transformers import GenerationConfig

    encoded = [prompt_ids(tokenizer, prompt) for prompt in prompts]
    # Long ones with long ones, so that little is padded.
    order = sorted(range(len(encoded)), key=lambda place: len(encoded[place]))
    stops = stop_ids(model, tokenizer)
    # Nothing of the model's own wishes: a repetition penalty or a temperature would make this another measure.
    greedy = GenerationConfig(
        do_sample=False, max_new_tokens=max_new_tokens, eos_token_id=stops, pad_token_id=tokenizer.pad_token_id
    )
    own, model.generation_config = model.generation_config, greedy
    said: dict[int, Said] = {}
    try:
        for first in range(0, len(order), batch_size):
            places = order[first : first + batch_size]
            ids, mask = left_padded([encoded[place] for place in places], tokenizer.pad_token_id, model.device)
            with torch.inference_mode():
                grown = model.generate(input_ids=ids, attention_mask=mask)
            for place, answer in zip(places, grown[:, ids.shape[1] :].tolist(), strict=True):
                said[place] = _said(tokenizer, answer, stops)
            say_done(len(said))
    finally:
        model.generation_config = own
    return [said[place] for place in range(len(encoded))]


def prompt_ids(tokenizer: Any, prompt: Sequence[Message]) -> list[int]:
    """A chat as the model is asked it, up to where its answer begins."""
    chat = [{"role": each.role, "content": each.content} for each in prompt]
    encoded = tokenizer.apply_chat_template(chat, tokenize=True, add_generation_prompt=True, return_dict=True)
    ids: list[int] = encoded["input_ids"]
    return ids


def left_padded(rows: Sequence[Sequence[int]], pad_id: int, device: Any) -> tuple[Any, Any]:
    """Rows of one length, with where they are real: all end at the same place."""
    import torch

    width = max(map(len, rows))
    ids = [[pad_id] * (width - len(row)) + list(row) for row in rows]
    mask = [[0] * (width - len(row)) + [1] * len(row) for row in rows]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def stop_ids(model: Any, tokenizer: Any) -> list[int]:
    """Tokens that end a turn: what the model and its tokenizer name, and what the template puts behind an answer."""
    named = model.generation_config.eos_token_id if model.generation_config else None
    stops = {tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])}
    stops.add(_end_of_turn(tokenizer))
    return sorted(stop for stop in stops if stop is not None)


def _end_of_turn(tokenizer: Any) -> int | None:
    """The first special token behind an answer in the template. A base may name another as its end, of documents."""
    mark = "ok"
    chat = [{"role": "user", "content": mark}, {"role": "assistant", "content": mark}]
    text: str = tokenizer.apply_chat_template(chat, tokenize=False)
    behind = tokenizer(text.rpartition(mark)[2], add_special_tokens=False)["input_ids"]
    special = set(tokenizer.all_special_ids) | {
        number for number, token in tokenizer.added_tokens_decoder.items() if token.special
    }
    return next((number for number in behind if number in special), None)


def _said(tokenizer: Any, answer: list[int], stops: list[int]) -> Said:
    end = next((place for place, token in enumerate(answer) if token in stops), None)
    text: str = tokenizer.decode(answer[:end], skip_special_tokens=True)
    return Said(text.strip(), end is not None)
