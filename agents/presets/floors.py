"""Policies that learn nothing: the floors that every agent is compared with."""

from mtrl.algorithm import AGENTS, AgentPreset
from mtrl.config import EvaluationConfig, RunConfig

from ..fixed import FixedConfig, RandomPolicy, RepeatPolicy, ZeroPolicy

for _name, _policy, _description in (
    ("zero", ZeroPolicy, "floor: always the zero action"),
    ("random", RandomPolicy, "floor: a fresh uniform action every step"),
    ("repeat", RepeatPolicy, "floor: one uniform action held for the whole episode"),
):
    _fixed = RunConfig(
        agent=_name, steps_per_task=0, evaluation=EvaluationConfig(slots_per_task=10), algorithm=FixedConfig()
    )
    AGENTS.register(
        _name, AgentPreset(_name, _fixed, _policy, "evaluation only", "none", trainable=False), _description
    )
