"""What a decoder is composed of: position encodings and the decoder layer, all in terms of the kernels."""
