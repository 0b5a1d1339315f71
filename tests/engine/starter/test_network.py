import torch
from transformers import LlamaConfig, LlamaForCausalLM

from vllm_local.starter.network import Network, Sizes

SIZES = Sizes(
    vocab_size=97, hidden_size=32, intermediate_size=48, num_hidden_layers=3, head_dim=8, max_position_embeddings=64
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
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config)
    model.load_state_dict(network.llama_weights(dict(network.named_parameters())))
    return model


def test_it_is_a_llama():
    ours = network()
    tokens = torch.randint(0, 97, (2, 40))
    expected = llama(ours).model(tokens).last_hidden_state
    torch.testing.assert_close(ours(tokens), expected, rtol=1e-4, atol=1e-5)


def test_the_loss_is_that_of_the_counted_positions():
    ours = network()
    tokens, targets = torch.randint(0, 97, (2, 2, 20))
    counted = torch.rand(2, 20) < 0.5
    logits = llama(ours)(tokens).logits
    expected = torch.nn.functional.cross_entropy(logits[counted], targets[counted], reduction="none")
    torch.testing.assert_close(ours.losses(tokens, targets, counted), expected, rtol=1e-4, atol=1e-4)


def test_the_seed_decides_the_weights():
    first, again, other = (Network(SIZES) for _ in range(3))
    for network, seed in ((first, 1), (again, 1), (other, 2)):
        network.initialise(seed)
    assert torch.equal(first.embed, again.embed)
    assert not torch.equal(first.embed, other.embed)
