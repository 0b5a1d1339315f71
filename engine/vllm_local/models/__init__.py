"""Models: config.json and safetensors files in, a decoder on packed weights out."""
