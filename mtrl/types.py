"""Glossary of axis names and the array types built from them.

Shapes are written with jaxtyping and checked at run time in the tests alone.

| axis   | meaning                                                                    |
|--------|----------------------------------------------------------------------------|
| `env`  | slots of a vector environment (worlds), sorted by task                      |
| `task` | tasks of a suite, in the suite's order                                      |
| `batch`| transitions of an update: `task` times `sample`, sorted by task             |
| `sample`| transitions drawn for one task                                             |
| `time` | consecutive steps of one slot, or rows of one task's ring                   |
| `obs`  | numbers of an observation, padded to the suite's largest                    |
| `act`  | numbers of an action in [-1, 1], padded to the suite's largest              |
| `goal` | numbers that fix one variation of a task (a *goal*)                         |
"""

import torch
from jaxtyping import Bool, Float32, Int64

from mtrl.plain_types import GoalRows, State

Observations = Float32[torch.Tensor, "env obs"]
Actions = Float32[torch.Tensor, "env act"]
Rewards = Float32[torch.Tensor, " env"]
Flags = Bool[torch.Tensor, " env"]
TaskIds = Int64[torch.Tensor, " env"]

__all__ = ["Actions", "Flags", "GoalRows", "Observations", "Rewards", "State", "TaskIds"]
