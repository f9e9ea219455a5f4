"""What a configuration costs: predicted seconds, messages and memory on P ranks.

The engine is not modelled but traced: `tasks` are calls of the package, and `trace`
makes them on a few of the ranks, with a layer that marches nothing (`layer`) and
neighbours that are not there (`comm`).  `predict` replays on P clocks (`clocks`) what
was noted, and `measure` says what computing takes here (`cost`); `search` and `rivals`
compare configurations, `memory` counts bytes.
"""
