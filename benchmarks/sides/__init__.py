"""The sides that `engine.py` compares, each in a process of its own.

| file | what it holds |
|---|---|
| `side.py` | what every side does |
| `worker.py` | the process that a side runs in |
| `this_engine.py` | this engine, and the same with its parts timed |
| `llama_cpp_decoder.py` | llama.cpp, through its batch interface |
| `transformers_decoder.py` | transformers, one forward pass after the other |
"""
