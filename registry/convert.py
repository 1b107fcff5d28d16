"""A GGUF file as a folder that vLLM loads, in bf16: `python -m registry.convert GGUF OUT`, in a process of its own.

GGUF keeps less than a hub's repository does; `main` mends what is lost, and each step says why.
"""

import signal
import sys
from pathlib import Path
from typing import Any

from cluster.errors import OurFault
from registry.work import Work, own_modules

# A 1.5B model takes 90 s on two cores and 5.6 GB of memory; a machine in use takes longer.
CONVERT_S = 3600.0
# Two readings of one matrix, quantised differently, agree to 0.99 and more; two matrices learnt apart do not.
SAME_COSINE = 0.99
# What Qwen publishes for its instruct models of these sizes, so that both sources answer alike.
QWEN_SAMPLING = {"do_sample": True, "temperature": 0.7, "top_p": 0.8, "top_k": 20, "repetition_penalty": 1.1}


def convert_in_child(gguf: Path, work: Work) -> None:
    """Leave the converted folder in `work.result`."""
    work.progress.stage(f"{work.name}: converting to bf16", None)
    finished = work.run(
        ["-m", "registry.convert", str(gguf), str(work.result)],
        env={**own_modules(), "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"},
        silence_s=CONVERT_S,
    )
    if finished.code == -signal.SIGKILL:
        raise OurFault("the conversion was killed, most likely because memory ran out")
    if finished.code != 0:
        raise OurFault(f"the conversion failed: {finished.last_line}")


def main(gguf: Path, out: Path) -> None:
    """Convert one file."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        dtype=torch.bfloat16,
        quantization_config=GgufConfig(dequantize=True),
    )
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    _tie_embeddings(model)
    _mend_tokenizer(tokenizer, model.config)
    _mend_generation(model, tokenizer)
    # Sampling defaults are written as they are, without the library's advice on them.
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def _tie_embeddings(model: Any) -> None:
    """Undo llama.cpp's habit of storing a tied matrix twice: it costs a quarter of a small model's memory."""
    import torch

    inputs, outputs = model.get_input_embeddings(), model.get_output_embeddings()
    if inputs.weight is outputs.weight or inputs.weight.shape != outputs.weight.shape:
        return
    # A thousand rows tell as much as all 150,000, without copies in float32 of the whole.
    rows = slice(0, None, max(1, len(inputs.weight) // 1000))
    with torch.no_grad():
        cosine = torch.cosine_similarity(inputs.weight[rows].float(), outputs.weight[rows].float()).median().item()
    if cosine >= SAME_COSINE:
        # The output copy is the one that llama.cpp quantises more finely.
        inputs.weight = outputs.weight
        model.config.tie_word_embeddings = True


def _mend_tokenizer(tokenizer: Any, config: Any) -> None:
    tokenizer.model_max_length = config.max_position_embeddings
    tokenizer.clean_up_tokenization_spaces = False
    if config.model_type == "qwen2":
        # Qwen starts no text with a special token, and normalises it.
        from tokenizers.normalizers import NFC

        tokenizer.bos_token = None
        tokenizer.backend_tokenizer.normalizer = NFC()
        # Early Qwen coder models show the model tool calls in double braces; it repeats them, and they are not JSON.
        tokenizer.chat_template = tokenizer.chat_template.replace('{{\\"name\\":', '{\\"name\\":').replace(
            "<args-json-object>}}", "<args-json-object>}"
        )


def _mend_generation(model: Any, tokenizer: Any) -> None:
    """GGUF knows one end-of-text token; chat models end with either of two."""
    from transformers import GenerationConfig

    ends = [tokenizer.eos_token, "<|im_end|>", "<|endoftext|>"]
    special = {token.content: index for index, token in tokenizer.added_tokens_decoder.items()}
    model.generation_config = GenerationConfig(
        bos_token_id=model.config.bos_token_id,
        eos_token_id=list(dict.fromkeys(special[token] for token in ends if token in special)),
        pad_token_id=tokenizer.pad_token_id,
        **(QWEN_SAMPLING if model.config.model_type == "qwen2" else {}),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
