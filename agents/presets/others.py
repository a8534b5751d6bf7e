"""Agents that were trained elsewhere."""

from mtrl.algorithm import AGENTS, AgentPreset
from mtrl.config import RunConfig

from ..sb3_model import SB3Config, SB3Model

AGENTS.register(
    "sb3",
    AgentPreset(
        "sb3",
        RunConfig(agent="sb3", steps_per_task=0, algorithm=SB3Config()),
        SB3Model,
        "evaluation only",
        "Raffin et al., Stable-Baselines3, JMLR 2021",
        trainable=False,
    ),
    "a model that Stable-Baselines3 trained: evaluated, filmed, compared",
)
