import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from vllm_local.starter.corpus import Batch, Packed
from vllm_local.starter.network import Network, Sizes

SIZES = Sizes(
    vocab_size=97,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=3,
    num_key_value_heads=2,
    head_dim=8,
    max_position_embeddings=64,
)


def network() -> Network:
    network = Network(SIZES, torch.float32)
    network.initialise(seed=3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape), alpha=0.1)
    return network


def llama(network: Network) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=97,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        rms_norm_eps=SIZES.rms_norm_eps,
        rope_parameters={"rope_type": "default", "rope_theta": SIZES.rope_theta},
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config)
    model.load_state_dict(network.llama_weights(dict(network.named_parameters())))
    return model


def losses_and_gradient(network: Network, packed: Packed) -> tuple[torch.Tensor, torch.Tensor]:
    losses = network.losses(packed)
    gradients = torch.autograd.grad(losses.sum(), list(network.parameters()))
    return losses.detach().float().cpu(), torch.cat([gradient.flatten() for gradient in gradients]).float().cpu()


@pytest.fixture
def batches() -> list[Batch]:
    shapes = ((2, 40), (3, 16), (1, 8))
    tokens = [torch.randint(0, 97, shape) for shape in shapes]
    return [Batch(ids, torch.randint(0, 97, ids.shape), torch.rand(ids.shape) < 0.5) for ids in tokens]


def test_it_is_a_llama(batches):
    ours = network()
    expected = [llama(ours).model(batch.tokens).last_hidden_state.flatten(0, 1) for batch in batches]
    everything = [torch.ones_like(batch.answers) for batch in batches]
    hidden = ours(Packed.of(batches, everything, torch.device("cpu")))
    torch.testing.assert_close(hidden, torch.cat(expected), rtol=1e-4, atol=1e-5)


def test_the_losses_are_those_of_the_counted_positions(batches):
    ours = network()
    counted = [torch.rand(batch.tokens.shape) < 0.5 for batch in batches]
    expected = [
        torch.nn.functional.cross_entropy(
            llama(ours)(batch.tokens).logits[where], batch.targets[where], reduction="none"
        )
        for batch, where in zip(batches, counted, strict=True)
    ]
    packed = Packed.of(batches, counted, torch.device("cpu"))
    torch.testing.assert_close(ours.losses(packed), torch.cat(expected), rtol=1e-4, atol=1e-4)
    answers = [batch.answers[where] for batch, where in zip(batches, counted, strict=True)]
    assert torch.equal(packed.answers, torch.cat(answers))


def test_without_a_gradient_the_losses_are_the_same(batches):
    ours = network()
    packed = Packed.of(batches, [torch.ones_like(batch.answers) for batch in batches], torch.device("cpu"))
    with torch.no_grad():
        losses = ours.losses(packed)
    torch.testing.assert_close(losses, ours.losses(packed).detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.timeout(300)  # it runs a C++ compiler
@pytest.mark.filterwarnings("ignore")  # of what torch's compiler does itself
def test_compiled_parts_give_the_same_losses_and_gradient(batches):
    ours = network()
    compiled = Network(SIZES, torch.float32, compiled=True)
    compiled.load_state_dict(ours.state_dict())
    packed = Packed.of(batches, [torch.ones_like(batch.answers) for batch in batches], torch.device("cpu"))
    for found, expected in zip(*(losses_and_gradient(one, packed) for one in (compiled, ours)), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.cuda
def test_a_gpu_gives_the_same_losses(batches):
    ours = network().to(torch.bfloat16)
    counted = [torch.ones_like(batch.answers) for batch in batches]
    on_processor, gradient = losses_and_gradient(ours, Packed.of(batches, counted, torch.device("cpu")))
    ours.to("cuda")
    on_gpu, gradient_there = losses_and_gradient(ours, Packed.of(batches, counted, torch.device("cuda")))
    torch.testing.assert_close(on_gpu, on_processor, rtol=0.02, atol=0.05)
    assert (gradient_there - gradient).norm() < 0.05 * gradient.norm()


def test_the_seed_decides_the_weights():
    first, again, other = (Network(SIZES) for _ in range(3))
    for network, seed in ((first, 1), (again, 1), (other, 2)):
        network.initialise(seed)
    assert torch.equal(first.embed, again.embed)
    assert not torch.equal(first.embed, other.embed)
