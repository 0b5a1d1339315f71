"""A bench model as GGUF, with the same weights in bf16, for llama.cpp."""

from __future__ import annotations

from pathlib import Path

import gguf
import torch
import transformers


def gguf_file(folder: Path) -> Path:
    """Returns the GGUF file of a Qwen2 or Llama checkpoint with tied embeddings; writes it where it is not there yet.

    Norms and biases are float32 there, which llama.cpp asks for. There is no vocabulary: it is given token ids.

    Args:
        folder: The checkpoint, in bf16.
    """
    path = folder / "model-bf16.gguf"
    if not path.exists():
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
        part = path.with_suffix(".part")
        _write(model, part)
        part.rename(path)
    return path


def _write(model: transformers.PreTrainedModel, path: Path) -> None:
    config = model.config
    writer = gguf.GGUFWriter(path, config.model_type)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(_head_size(model))
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("no_vocab")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    _add_tensors(writer, model)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_tensors(writer: gguf.GGUFWriter, model: transformers.PreTrainedModel) -> None:
    config = model.config
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[config.model_type.upper()], config.num_hidden_layers)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in model.base_model.state_dict(prefix="model.").items():
        target = names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert target is not None, f"GGUF has no name for {name}"
        layer_part = name.split(".")[-2]
        rows = tensor
        if config.model_type == "llama" and layer_part in heads:
            rows = _interleave(tensor, heads[layer_part])
        _add(writer, target, rows)
    if config.rope_parameters["rope_type"] != "default":
        _add(writer, "rope_freqs.weight", _rope_divisors(model))


def _add(writer: gguf.GGUFWriter, name: str, tensor: torch.Tensor) -> None:
    if tensor.dim() == 1:
        writer.add_tensor(name, tensor.float().numpy())
        return
    as_bytes = tensor.contiguous().view(torch.uint8).numpy()
    writer.add_tensor(name, as_bytes, raw_dtype=gguf.GGMLQuantizationType.BF16)


def _interleave(weight: torch.Tensor, num_heads: int) -> torch.Tensor:
    """Reorders the outputs of a projection: llama.cpp rotates neighbours in Llama, transformers a head's two halves."""
    halves = weight.view(num_heads, 2, -1, weight.shape[1])
    return halves.transpose(1, 2).reshape(weight.shape)


def _rope_divisors(model: transformers.PreTrainedModel) -> torch.Tensor:
    """Returns what llama.cpp divides the frequencies by [D / 2], where they are scaled."""
    size = _head_size(model)
    plain = model.config.rope_parameters["rope_theta"] ** -(torch.arange(0, size, 2, dtype=torch.float64) / size)
    scaled = dict(model.named_buffers())["model.rotary_emb.inv_freq"].double()
    return (plain / scaled).float()


def _head_size(model: transformers.PreTrainedModel) -> int:
    config = model.config
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)
