"""Parts that agents are put together from, each chosen by one word: networks, critics, combiners and scales.

Their inputs are grouped by task: `[group, sample, ...]`, where the rows of a group share a task (`groups.py`). In an
update there is one group a task, so what a task has of its own is one batched product over groups.
"""
