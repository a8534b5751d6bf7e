"""Presets: one word for each way to train. A new agent is a file and a call here."""

from dataclasses import replace

from mtrl.algorithm import AGENTS, AgentPreset
from mtrl.config import EvaluationConfig, ReplayConfig, RunConfig
from mtrl.parts.combiner import CombinerConfig
from mtrl.parts.network import NetworkConfig

from ..fixed import FixedConfig, RandomPolicy, RepeatPolicy, ZeroPolicy
from ..sac import SAC
from ..sac_config import SACConfig

META_WORLD_PLUS = "McLean et al., Meta-World+, NeurIPS 2025; Yu et al., Meta-World, CoRL 2019"


def _sac(name: str, network: str, description: str) -> None:
    """Registers plain multi-task SAC, 3 x 400, over one network."""
    size = NetworkConfig(network, width=400, depth=3)
    defaults = RunConfig(agent=name, algorithm=SACConfig(actor=size, critic=size))
    cost = (
        "MT10 at 2 M steps/task: 6 h on an A100 (its authors' figure), 4 days on 2 CPU cores (5.5 updates/s measured)"
    )
    AGENTS.register(name, AgentPreset(name, defaults, SAC, cost, META_WORLD_PLUS), description)


_sac("mtsac", "one_hot", "multi-task SAC, all layers shared, task as one-hot input (Meta-World+ settings)")
_sac("mtmhsac", "multi_head", "multi-task SAC with a head for each task (Meta-World+ settings)")

_small = NetworkConfig("multi_head", width=256, depth=2, layer_norm=True)
_quick = RunConfig(
    agent="quick",
    steps_per_task=420_000,
    slots_per_task=16,
    warmup_steps=2_400,
    replay=ReplayConfig(capacity_per_task=150_000),
    evaluation=EvaluationConfig(every=60_000, goals=10),
    algorithm=replace(
        SACConfig(),
        actor=_small,
        critic=_small,
        actor_combiner=CombinerConfig("scale_invariant"),
        critic_combiner=CombinerConfig("scale_invariant"),
        batch_per_task=64,
        gamma=0.97,
        actor_learning_rate=1e-3,
        critic_learning_rate=1e-3,
        temperature_learning_rate=1e-3,
        initial_temperature=0.1,
        target_entropy_per_action=-0.5,
        anneal_after=16_000,
        anneal_updates=9_000,
    ),
)
AGENTS.register(
    "quick",
    AgentPreset("quick", _quick, SAC, "MT3: 8 minutes on 2 CPU cores (measured)", "settings of this project"),
    "multi-head SAC, small and hasty: easy suites on a laptop in minutes (`mtrl demo` uses it on MT3)",
)

for _name, _policy, _description in (
    ("zero", ZeroPolicy, "floor: always the zero action"),
    ("random", RandomPolicy, "floor: a fresh uniform action every step"),
    ("repeat", RepeatPolicy, "floor: one uniform action held for the whole episode"),
):
    _fixed = RunConfig(agent=_name, steps_per_task=0, algorithm=FixedConfig())
    AGENTS.register(
        _name, AgentPreset(_name, _fixed, _policy, "evaluation only", "none", trainable=False), _description
    )
