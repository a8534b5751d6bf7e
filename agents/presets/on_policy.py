"""Presets of proximal policy optimisation."""

from mtrl.algorithm import AGENTS, AgentPreset
from mtrl.config import EvaluationConfig, RunConfig

from ..critics.popart import PopArtConfig
from ..networks.multi_head import MultiHeadConfig
from ..ppo import PPO
from ..ppo_config import PPOConfig

_actor = MultiHeadConfig(width=256, depth=2)
PPO_SMALL = RunConfig(
    agent="ppo-small",
    steps_per_task=2_000_000,
    slots_per_task=16,
    warmup_steps=4_096,
    random_progress=True,
    evaluation=EvaluationConfig(every=200_000, goals=10),
    algorithm=PPOConfig(
        actor=_actor,
        critic=MultiHeadConfig(width=256, depth=2, layer_norm=True),
        value=PopArtConfig(beta=0.2),
        rollout_steps=128,
        epochs=5,
        minibatches=8,
        overlap=True,
        normalize_obs=True,
        normalize_obs_steps=4_096,
        spread="task",
        initial_log_std=-0.5,
    ),
)
AGENTS.register(
    "ppo-small",
    AgentPreset("ppo-small", PPO_SMALL, PPO, "not measured", "settings of this project"),
    "multi-task PPO for a CPU",
)
