"""What a configuration costs: predicted seconds, messages and memory on P ranks.

`clocks` has P clocks and the verbs of a communicator, `solves` and `steps` go through
them as the engine and the training step do, `cost` and `measure` say what computing
takes here, `search` and `rivals` compare configurations.
"""
