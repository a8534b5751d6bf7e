"""Agents that learn to learn."""

from dataclasses import replace

from mtrl.algorithm import AGENTS, AgentPreset
from mtrl.config import EvaluationConfig, RunConfig, TrialConfig
from mtrl.parts.network import ConditioningConfig, NetworkConfig
from mtrl.parts.scale import ScaleConfig

from ..maml import MAML
from ..maml_config import MAMLConfig
from ..pearl import PEARL
from ..pearl_config import PEARLConfig
from ..rl2 import RL2
from ..rl2_config import RL2Config

_hidden = ConditioningConfig("hidden")
_network = NetworkConfig("one_hot", width=256, depth=2, task=_hidden)
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
        normalize_obs=True,
        normalize_obs_steps=300_000,
        reward_seen=1.0,
        rollout_steps=500,
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
    steps_per_task=2_500_000,
    slots_per_task=100,
    trial=TrialConfig(learned=4),
    evaluation=EvaluationConfig(every=0, goals=10, slots_per_task=50),
    algorithm=replace(
        WHOLE.algorithm,
        actor=_small,
        critic=_small,
        memory=64,
        hold=5,
        scale=ScaleConfig("return_deviation"),
        rollout_steps=400,
        final_learning_rate=0.1,
        epochs=10,
        minibatches=5,
        gamma=0.9,
        gae_lambda=0.95,
        entropy_weight=0.0,
        actor_learning_rate=1e-3,
        critic_learning_rate=1e-3,
    ),
)
# Noise begins beyond its bound, where it has no gradient, and so stays: by chance ever better moments are found.
_recalling = {"recall": True, "sampled_adaptation": True, "initial_log_std": -0.5, "max_log_std": -1.0}
RECALL_WHOLE, RECALL_SMALL = (
    replace(
        base,
        agent=base.agent.replace("rl2", "rl2-recall"),
        random_progress=True,
        trial=TrialConfig(learned=5),
        algorithm=replace(base.algorithm, rollout_steps=500, **_recalling),
    )
    for base in (WHOLE, SMALL)
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
    trial=TrialConfig(learned=3),
    algorithm=replace(MAML_WHOLE.algorithm, actor=replace(MAML_WHOLE.algorithm.actor, width=64), outer_episodes=3),
)
TUNED_WHOLE, TUNED_SMALL = (
    replace(base, agent=name, algorithm=replace(base.algorithm, pretrain=1.0))
    for base, name in ((MAML_WHOLE, "fine-tuned"), (MAML_SMALL, "fine-tuned-small"))
)
_latent = NetworkConfig("one_hot", width=300, depth=3, task=_hidden)
PEARL_WHOLE = RunConfig(
    agent="pearl",
    slots_per_task=20,
    warmup_steps=2_000,
    updates_per_step=4.0,
    trial=TrialConfig(episodes=3, judged=3),
    evaluation=EvaluationConfig(every=100_000, goals=10, slots_per_task=10),
    algorithm=PEARLConfig(
        actor=_latent,
        critic=_latent,
        batch_per_task=1024,
        scale=ScaleConfig("return_deviation"),
        latent=7,
        initial_temperature=0.1,
        kl_weight=1e-3,
    ),
)
_small_latent = replace(_latent, width=128, depth=2)
PEARL_SMALL = replace(
    PEARL_WHOLE,
    agent="pearl-small",
    steps_per_task=300_000,
    updates_per_step=1.0,
    trial=TrialConfig(episodes=3, judged=1),
    evaluation=EvaluationConfig(every=0, goals=10, slots_per_task=10),
    algorithm=replace(
        PEARL_WHOLE.algorithm,
        actor=_small_latent,
        critic=_small_latent,
        encoder=replace(_small_latent, width=64),
        batch_per_task=256,
        context=32,
        latent=5,
        actor_learning_rate=1e-3,
        critic_learning_rate=1e-3,
        encoder_learning_rate=1e-3,
    ),
)
_DUAN = "Duan et al., RL2, 2016; Schulman et al., PPO, 2017; settings of this project"
_RITTER = "Duan et al., RL2, 2016; after Ritter et al., Been There, Done That, 2018; settings of this project"
_FINN = "Finn et al., MAML, 2017; Schulman et al., TRPO, 2015; Yu et al., Meta-World, 2019"
_PLAIN = "Schulman et al., TRPO, 2015; the baseline of Finn et al., MAML, 2017"
_RAKELLY = "Rakelly et al., PEARL, 2019; settings of this project"
for _defaults, _agent, _source, _description in (
    (WHOLE, RL2, _DUAN, "RL2: a policy with memory learns over ten episodes what the task and its goal are"),
    (SMALL, RL2, _DUAN, "small form of rl2 for a laptop, which learns from trials of four episodes"),
    (RECALL_WHOLE, RL2, _RITTER, "rl2 that also sees, in every step, the best moment of the trial yet"),
    (RECALL_SMALL, RL2, _RITTER, "small form of rl2-recall for a laptop"),
    (MAML_WHOLE, MAML, _FINN, "MAML: weights from which one gradient step on ten episodes leads to a good policy"),
    (MAML_SMALL, MAML, _FINN, "small form of maml for a laptop, which learns from trials of three episodes"),
    (TUNED_WHOLE, MAML, _PLAIN, "one policy for all tasks by TRPO, fine-tuned by one gradient step on ten episodes"),
    (TUNED_SMALL, MAML, _PLAIN, "small form of fine-tuned for a laptop, which learns from trials of three episodes"),
    (PEARL_WHOLE, PEARL, _RAKELLY, "PEARL: soft actor-critic with a latent variable inferred from the trial so far"),
    (PEARL_SMALL, PEARL, _RAKELLY, "small form of pearl for a laptop"),
):
    AGENTS.register(
        _defaults.agent, AgentPreset(_defaults.agent, _defaults, _agent, "not measured", _source), _description
    )
