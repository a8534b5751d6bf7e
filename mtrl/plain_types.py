"""Types that need no torch: tasks, suites and goals are imported in worker processes, which must stay light."""

from typing import Any, Literal

import numpy as np
from jaxtyping import Float64

GoalRows = Float64[np.ndarray, "goal_index goal"]
Context = Literal["own", "other", "none"]
"""What an agent that adapts learns from in an evaluation; see `mtrl.contexts`."""
State = dict[str, Any]
"""What `get_state` and `state_dict` return: nested dicts and lists of tensors, numbers, strings, booleans and None
only, so that `torch.load(weights_only=True)` reads it back and nothing in it can run."""
