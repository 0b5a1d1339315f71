"""From logits to tokens: ordered steps, each a function over rows. `Sampler`'s docstring lists them."""
