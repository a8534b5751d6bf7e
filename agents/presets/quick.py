"""`quick`: multi-head SAC, small and hasty, whose settings all small forms share."""

from mtrl.algorithm import AGENTS, AgentPreset
from mtrl.config import EvaluationConfig, ReplayConfig, RunConfig
from mtrl.parts.combiner import CombinerConfig

from ..networks.multi_head import MultiHeadConfig
from ..sac import SAC
from ..sac_config import SACConfig

_network = MultiHeadConfig(width=256, depth=2, layer_norm=True)
_combiner = CombinerConfig("scale_invariant")
QUICK = RunConfig(
    agent="quick",
    steps_per_task=140_000,
    slots_per_task=16,
    warmup_steps=2_400,
    replay=ReplayConfig(capacity_per_task=150_000),
    evaluation=EvaluationConfig(every=35_000, goals=10, slots_per_task=10),
    algorithm=SACConfig(
        actor=_network,
        critic=_network,
        actor_combiner=_combiner,
        critic_combiner=_combiner,
        normalize_obs=True,
        batch_per_task=64,
        gamma=0.97,
        n_step=3,
        actor_learning_rate=1e-3,
        critic_learning_rate=1e-3,
        temperature_learning_rate=1e-3,
        initial_temperature=0.1,
        target_entropy_per_action=-0.5,
        anneal_after=5_500,
        anneal_updates=3_000,
    ),
)
AGENTS.register(
    "quick",
    AgentPreset(
        "quick", QUICK, SAC, "MT3: 3 minutes of training on 2 CPU cores (measured)", "settings of this project"
    ),
    "multi-head SAC, small and hasty: easy suites on a laptop in minutes (`mtrl demo` uses it on MT3)",
)
