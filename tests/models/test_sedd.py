"""SEDD: the published names and shapes, the mathematics of its output, rows that cannot feel each other."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from protocol.vocabularies import CharacterVocabulary, ChoraleVocabulary
from tests.plugins.sequences import SequenceRecipe, build_sequences
from workers.core import Batch, Grid
from workers.models import load, picture_model
from workers.models.sedd_modules import SEDD, SeddConfig, leave_one_out_log_ratios
from workers.models.sedd_network import SeddNetwork
from workers.models.sedd_pipeline import SeddPipeline, cast
from workers.models.sedd_published import averaged, config_of, load_published

SMALL: dict[str, Any] = {
    "tokens": 13,
    "hidden_size": 64,
    "cond_dim": 32,
    "length": 24,
    "n_blocks": 2,
    "n_heads": 2,
    "dropout": 0.1,
}
PUBLISHED_SMALL = {
    "tokens": 50257,
    "graph": {"type": "uniform", "file": "data"},
    "noise": {"type": "geometric", "sigma_min": 1e-4, "sigma_max": 20},
    "model": {
        "name": "small",
        "type": "ddit",
        "hidden_size": 768,
        "cond_dim": 128,
        "length": 1024,
        "n_blocks": 12,
        "n_heads": 12,
        "scale_by_sigma": False,
        "dropout": 0.1,
    },
}
BLOCK_SHAPES = {
    "norm1.weight": (768,),
    "attn_qkv.weight": (2304, 768),
    "attn_out.weight": (768, 768),
    "norm2.weight": (768,),
    "mlp.0.weight": (3072, 768),
    "mlp.0.bias": (3072,),
    "mlp.2.weight": (768, 3072),
    "mlp.2.bias": (768,),
    "adaLN_modulation.weight": (4608, 128),
    "adaLN_modulation.bias": (4608,),
}
OUTER_SHAPES = {
    "vocab_embed.embedding": (50257, 768),
    "sigma_map.mlp.0.weight": (128, 256),
    "sigma_map.mlp.0.bias": (128,),
    "sigma_map.mlp.2.weight": (128, 128),
    "sigma_map.mlp.2.bias": (128,),
    "rotary_emb.inv_freq": (32,),
    "output_layer.norm_final.weight": (768,),
    "output_layer.linear.weight": (50257, 768),
    "output_layer.linear.bias": (50257,),
    "output_layer.adaLN_modulation.weight": (1536, 128),
    "output_layer.adaLN_modulation.bias": (1536,),
}


def small(seed: int = 0, **changes: Any) -> SEDD:
    """A small network none of whose weights is zero."""
    torch.manual_seed(seed)
    network = SEDD(SeddConfig(**{**SMALL, **changes}))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network.eval().requires_grad_(False)


def nested(**model: Any) -> dict[str, Any]:
    """The authors' config of the small network."""
    sizes = {name: value for name, value in SMALL.items() if name != "tokens"}
    return {**PUBLISHED_SMALL, "tokens": 13, "model": {**sizes, "scale_by_sigma": False, **model}}


def test_a_checkpoint_of_the_published_small_shape_loads() -> None:
    """Names and shapes as model/transformer.py of Score-Entropy-Discrete-Diffusion has them."""
    shapes = {f"blocks.{index}.{name}": shape for index in range(12) for name, shape in BLOCK_SHAPES.items()}
    shapes |= OUTER_SHAPES
    with torch.device("meta"):
        network = SEDD(config_of(PUBLISHED_SMALL))
        weights = {name: torch.empty(shape) for name, shape in shapes.items()}
    network.load_state_dict(weights, assign=True)
    assert {name: tuple(value.shape) for name, value in network.state_dict().items()} == shapes


def test_a_hub_folder_gives_the_same_network(tmp_path: Path) -> None:
    network = small()
    (tmp_path / "config.json").write_text(json.dumps(nested()))
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    loaded, noise = load_published(tmp_path)
    tokens, sigma = torch.randint(13, (2, 24)), torch.tensor([0.3, 4.0])
    assert torch.equal(loaded(tokens, sigma), network(tokens, sigma))
    assert noise == {"_class_name": "GeometricNoise", "sigma_min": 1e-4, "sigma_max": 20.0}


def test_a_run_s_checkpoint_gives_the_moving_average(tmp_path: Path) -> None:
    """The average is a list in the parameters' order, buffers not among them."""
    last, average = small(0), small(1)
    shadows = [parameter.detach() for parameter in average.parameters()]
    ema = {"decay": 0.9999, "num_updates": 7, "shadow_params": shadows}
    (tmp_path / "config.json").write_text(json.dumps(nested()))
    torch.save({"model": last.state_dict(), "ema": ema, "step": 7}, tmp_path / "checkpoint.pth")
    loaded, _ = load_published(tmp_path)
    assert all(torch.equal(value, average.state_dict()[name]) for name, value in loaded.state_dict().items())
    with pytest.raises(ValueError, match="1 averaged parameters for 30"):
        averaged({"model": {}, "ema": {"shadow_params": shadows[:1]}}, last.config)


def test_what_would_not_run_faithfully_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="graph 'absorb'"):
        config_of({**PUBLISHED_SMALL, "graph": {"type": "absorb"}})
    with pytest.raises(ValueError, match="scale_by_sigma"):
        config_of(nested(scale_by_sigma=True))
    with pytest.raises(ValueError, match="hidden_size 48"):
        SeddNetwork(small(hidden_size=48))
    (tmp_path / "config.json").write_text(json.dumps(nested(hidden_size=128)))
    save_file(small().state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="not the config's"):
        load_published(tmp_path)


def test_the_original_s_formulas_give_the_same() -> None:
    """The forward written out once more, as the original's code does it: one block, one head of each kind."""
    network = small(n_blocks=1)
    tokens, sigma = torch.randint(13, (2, 24)), torch.tensor([0.3, 4.0])
    weights = network.state_dict()
    freqs = torch.exp(-math.log(10000) * torch.arange(128) / 128)
    waves = torch.cat([torch.cos(sigma[:, None] * freqs), torch.sin(sigma[:, None] * freqs)], -1)
    silu, linear, norm = (
        torch.nn.functional.silu,
        torch.nn.functional.linear,
        lambda x, name: torch.nn.functional.layer_norm(x, [64]) * weights[name],
    )

    def layer(x: torch.Tensor, name: str) -> torch.Tensor:
        return linear(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"))

    c = silu(layer(silu(layer(waves, "sigma_map.mlp.0")), "sigma_map.mlp.2"))
    x = weights["vocab_embed.embedding"][tokens]
    shift, scale, gate, shift2, scale2, gate2 = layer(c, "blocks.0.adaLN_modulation")[:, None].chunk(6, 2)
    qkv = layer(norm(x, "blocks.0.norm1.weight") * (1 + scale) + shift, "blocks.0.attn_qkv")
    qkv = qkv.view(2, 24, 3, 2, 32)
    angles = torch.arange(24)[:, None] / 10000 ** (torch.arange(0, 32, 2) / 32)
    emb = torch.cat([angles, angles], -1)[None, :, None]
    half = torch.cat([-qkv[..., 16:], qkv[..., :16]], -1)
    q, k = (qkv[:, :, i] * emb.cos() + half[:, :, i] * emb.sin() for i in (0, 1))
    attention = torch.softmax(torch.einsum("bihd,bjhd->bhij", q, k) / 32**0.5, -1)
    mixed = torch.einsum("bhij,bjhd->bihd", attention, qkv[:, :, 2]).reshape(2, 24, 64)
    x = x + gate * layer(mixed, "blocks.0.attn_out")
    fed = layer(norm(x, "blocks.0.norm2.weight") * (1 + scale2) + shift2, "blocks.0.mlp.0")
    x = x + gate2 * layer(torch.nn.functional.gelu(fed, approximate="tanh"), "blocks.0.mlp.2")
    shift, scale = layer(c, "output_layer.adaLN_modulation")[:, None].chunk(2, 2)
    x = layer(norm(x, "output_layer.norm_final.weight") * (1 + scale) + shift, "output_layer.linear")
    expected = x.scatter(-1, tokens[..., None], torch.zeros(2, 24, 1))
    assert torch.allclose(network(tokens, sigma), expected, rtol=1e-4, atol=1e-4)


def test_leave_one_out_ratios_by_hand() -> None:
    """S = 2, alpha = 1/2, mu = (3/4, 1/4), x = 0: s_1 = (2/2 x 1/4 + 1/2) / (2/2 x 3/4 + 1/2) = 3/5."""
    logits = torch.tensor([[[math.log(3.0), 0.0]]])
    ratios = leave_one_out_log_ratios(logits, torch.tensor([[0]]), torch.tensor([math.log(2.0)])).exp()
    assert torch.allclose(ratios, torch.tensor([[[1.0, 0.6]]]))
    pure = leave_one_out_log_ratios(logits, torch.tensor([[0]]), torch.tensor([30.0])).exp()
    assert torch.allclose(pure, torch.ones(1, 1, 2))


@pytest.mark.parametrize("parameterization", ["score", "leave_one_out"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_rows_cannot_feel_each_other(parameterization: str, dtype: torch.dtype) -> None:
    """23 places of 13 tokens fill no vector register; the network's own forward is the same function."""
    network = cast(small(parameterization=parameterization, positions=True), dtype)
    tokens, sigma = torch.randint(13, (5, 23)), torch.tensor([9.0, 2.0, 0.7, 0.1, 0.01])
    expected = network(tokens[:1], sigma[:1])
    adapter = SeddNetwork(network)
    alone = [evaluate(adapter, tokens[row : row + 1], sigma[row : row + 1]) for row in range(5)]
    assert torch.equal(alone[0], expected)
    for rows in (2, 3, 5):
        together = evaluate(adapter, tokens[:rows], sigma[:rows])
        assert all(torch.equal(together[row : row + 1], alone[row]) for row in range(rows))
    assert torch.equal(adapter.score(tokens, sigma), evaluate(adapter, tokens, sigma).exp())


def evaluate(network: SeddNetwork, tokens: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    stream = network.embed(Batch(tokens, sigma, (), (), Grid(1, tokens.shape[1])))
    for index in range(network.layout.num_blocks):
        stream = stream.set(range(stream.num_rows), network.block(index, stream))
    return network.head(stream)


@torch.inference_mode()
def test_without_positions_places_differ_only_by_their_neighbours() -> None:
    """A row of one token is the same at every place under rotary tables alone; with positions it is not."""
    tokens, sigma = torch.full((1, 24), 3), torch.tensor([1.0])
    for positions in (False, True):
        output = small(positions=positions)(tokens, sigma)[0]
        assert torch.allclose(output, output[:1].expand_as(output), atol=1e-3) is not positions


def test_a_folder_of_ours_is_found_and_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RHEOSTAT_CHECKPOINTS", str(tmp_path))
    network = small(positions=True, parameterization="leave_one_out")
    noise = {"_class_name": "LogLinearNoise", "eps": 1e-3}
    SeddPipeline(network, CharacterVocabulary(characters="abcdefghijk \n"), noise).save_pretrained(
        tmp_path / "letters"
    )
    model: Any = load("letters", dtype="float32")
    tokens, sigma = torch.randint(13, (2, 24)), torch.tensor([0.3, 4.0])
    assert torch.allclose(model.score(tokens, sigma), network(tokens, sigma).exp())
    assert (model.family, model.token_grid(24), model.scheduler_config) == ("sedd", Grid(1, 24), noise)
    assert model.sigma_max == pytest.approx(math.log(1000))
    assert model.vocabulary.decode(model.vocabulary.encode("a cab\n")) == "a cab\n"
    half: Any = load("letters", dtype="bfloat16")
    assert half.pipeline.transformer.rotary_emb.inv_freq.dtype == torch.float32


@pytest.mark.parametrize(
    ("file", "change", "match"),
    [
        ("transformer/config.json", {"n_layers": 3}, "n_layers"),
        ("transformer/config.json", {"_class_name": "DiT"}, "of a DiT"),
        ("scheduler/scheduler_config.json", {"_class_name": "CosineNoise"}, "CosineNoise"),
        ("tokenizer/vocabulary.json", {"characters": "ab"}, "2 tokens in the vocabulary, 13 in the network"),
        ("tokenizer/vocabulary.json", {"characters": "aa"}, "stands twice"),
    ],
)
def test_folders_that_disagree_are_refused(
    tmp_path: Path, file: str, change: dict[str, Any], match: str
) -> None:
    noise = {"_class_name": "GeometricNoise", "sigma_min": 1e-3, "sigma_max": 9.0}
    SeddPipeline(small(), CharacterVocabulary(characters="abcdefghijk \n"), noise).save_pretrained(tmp_path)
    path = tmp_path / file
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=match):
        load(tmp_path, dtype="float32")
    shutil.rmtree(tmp_path)


def test_chorale_places_are_voices_of_steps() -> None:
    vocabulary = ChoraleVocabulary(lowest=36, highest=81, steps=8)
    tokens = vocabulary.encode(vocabulary.decode([2, 0, 0, 0, 1, 1, 1, 1] * 4))
    assert tokens == [2, 0, 0, 0, 1, 1, 1, 1] * 4
    assert vocabulary.size == 48


def test_what_is_for_pictures_refuses_a_model_of_text(load_sequences: Any) -> None:
    with pytest.raises(ValueError, match="letters makes text; this is for pictures and clips"):
        picture_model(load_sequences("letters"))


def test_a_piece_is_as_long_as_its_vocabulary_says(tmp_path: Path) -> None:
    """Four voices of 16 steps are 64 tokens, not 60."""
    vocabulary = ChoraleVocabulary(lowest=48, highest=76, steps=16)
    build_sequences(tmp_path / "short", SequenceRecipe(vocabulary, length=60))
    with pytest.raises(ValueError, match="60 places for 64 tokens"):
        load(tmp_path / "short", dtype="float32")
