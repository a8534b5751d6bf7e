"""Agents that learn to learn."""

from dataclasses import replace

from mtrl.algorithm import AGENTS, AgentPreset
from mtrl.config import EvaluationConfig, RunConfig, TrialConfig
from mtrl.parts.network import ConditioningConfig, NetworkConfig

from ..maml import MAML
from ..maml_config import MAMLConfig
from ..rl2 import RL2, RL2Config

_hidden = ConditioningConfig("hidden")
_network = NetworkConfig("one_hot", width=256, depth=2, task=_hidden)
_EPISODE = 500
"""Steps of an episode of Meta-World."""
WHOLE = RunConfig(
    agent="rl2",
    slots_per_task=10,
    warmup_steps=0,
    evaluation=EvaluationConfig(every=500_000, goals=10, slots_per_task=10),
    algorithm=RL2Config(
        actor=_network,
        critic=_network,
        memory=256,
        spread="state",
        rollout_steps=10 * _EPISODE,
        epochs=5,
        minibatches=5,
        gae_lambda=0.97,
        entropy_weight=0.005,
    ),
)
_small = replace(_network, width=64, depth=1)
SMALL = replace(
    WHOLE,
    agent="rl2-small",
    steps_per_task=1_000_000,
    slots_per_task=16,
    trial=TrialConfig(episodes=3, judged=1),
    evaluation=EvaluationConfig(every=0, goals=10, slots_per_task=10),
    algorithm=replace(
        WHOLE.algorithm,
        actor=_small,
        critic=_small,
        memory=64,
        rollout_steps=3 * _EPISODE,
        minibatches=4,
        actor_learning_rate=1e-3,
        critic_learning_rate=1e-3,
    ),
)
MAML_WHOLE = RunConfig(
    agent="maml",
    slots_per_task=20,
    warmup_steps=0,
    evaluation=EvaluationConfig(every=0, goals=10, slots_per_task=50),
    algorithm=MAMLConfig(),
)
MAML_SMALL = replace(
    MAML_WHOLE,
    agent="maml-small",
    steps_per_task=1_000_000,
    trial=TrialConfig(episodes=3, judged=1),
    algorithm=replace(MAML_WHOLE.algorithm, actor=replace(MAML_WHOLE.algorithm.actor, width=64), outer_episodes=3),
)
_DUAN = "Duan et al., RL2, 2016; Schulman et al., PPO, 2017; settings of this project"
for _defaults, _description in (
    (WHOLE, "RL2: a policy with memory learns over ten episodes what the task and its goal are"),
    (SMALL, "small form of rl2 for a laptop, with trials of three episodes"),
):
    AGENTS.register(_defaults.agent, AgentPreset(_defaults.agent, _defaults, RL2, "not measured", _DUAN), _description)
_FINN = "Finn et al., MAML, 2017; Schulman et al., TRPO, 2015; Yu et al., Meta-World, 2019"
for _defaults, _description in (
    (MAML_WHOLE, "MAML: weights from which one gradient step on ten episodes leads to a good policy"),
    (MAML_SMALL, "small form of maml for a laptop, with steps on three episodes"),
):
    AGENTS.register(_defaults.agent, AgentPreset(_defaults.agent, _defaults, MAML, "not measured", _FINN), _description)
