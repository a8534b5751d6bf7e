"""Whole recipes: critics, scales and networks that were published together."""

from dataclasses import replace
from typing import Any

from mtrl.config import ReplayConfig
from mtrl.parts.combiner import CombinerConfig
from mtrl.parts.critic import CriticConfig
from mtrl.parts.network import AdapterConfig, ConditioningConfig, NetworkConfig
from mtrl.parts.scale import ScaleConfig

from ..networks.bronet import BroNetConfig
from ..networks.multi_head import MultiHeadConfig
from ..networks.simba_v2 import SimbaV2Config
from ..sac_config import SACConfig
from .method import DEPTH, WIDTH, Method, both, combined

MEAN = combined(CombinerConfig("mean"))
OF_ALL: dict[str, Any] = {"target_reduction": "mean", "actor_reduction": "mean"}
SHARED_CODE = ConditioningConfig("embedding", dim=32, norm="unit", shared=True)
CRITICS_CODE = ConditioningConfig("critic")
MILLION = ("replay", ReplayConfig(capacity_per_task=1_000_000))

BRC = Method(
    "brc",
    "BRC: wide residual critics with learned task embeddings, values as distributions",
    "Nauman et al., Bigger, Regularized, Categorical, 2025",
    SACConfig(
        actor=BroNetConfig(width=256, blocks=1, task=CRITICS_CODE),
        critic=BroNetConfig(width=4096, blocks=2, task=SHARED_CODE),
        value=CriticConfig("c51"),
        scale=ScaleConfig("return_range"),
        batch_per_task=100,
        adam_epsilon=1e-8,
        weight_decay=1e-4,
        max_gradient_norm=1e12,
        shared_temperature=True,
        initial_temperature=0.1,
        temperature_beta=0.5,
        target_entropy_per_action=-0.5,
        spread="tanh",
        min_log_std=-10.0,
        **OF_ALL,
    ),
    {
        "actor": BroNetConfig(width=64, blocks=1, task=CRITICS_CODE),
        "critic": BroNetConfig(width=WIDTH, blocks=1, task=SHARED_CODE),
        "value": CriticConfig("c51"),
        "scale": ScaleConfig("return_range"),
        **MEAN,
        **OF_ALL,
    },
    notes="A batch has equally many transitions of every task (100 on MT10; --algorithm.batch-per-task 20 on MT50), "
    "where the original draws 1024 over all. Goals are drawn anew each episode and the horizon is 500; the original's "
    "code holds one goal a task and cuts episodes at 200.",
    run=(("updates_per_step", 2.0), ("warmup_steps", 5_000), MILLION),
)

_ars_actor = NetworkConfig("one_hot", width=400, depth=4)
_ars_critic = NetworkConfig("one_hot", width=400, depth=4, activation="tanh", layer_norm=True, input_norm=True)
ARS = Method(
    "ars",
    "ARS: rewards balanced between tasks at scheduled resets of everything that is learned",
    "Cho et al., ARS: Adaptive Reward Scaling for Multi-Task Reinforcement Learning, ICML 2025",
    SACConfig(
        actor=_ars_actor,
        critic=_ars_critic,
        scale=ScaleConfig("balance"),
        batch_per_task=100,
        actor_reduction="first",
        spread="softplus",
        reset_every=400_000,
    ),
    {
        "actor": NetworkConfig("one_hot", width=WIDTH, depth=DEPTH),
        "critic": replace(_ars_critic, width=WIDTH, depth=DEPTH),
        "scale": ScaleConfig("balance"),
        "actor_reduction": "first",
        "spread": "softplus",
        "reset_every": 75_000,
        "anneal_after": 0,
        "anneal_updates": 0,
        **MEAN,
    },
    notes="Four resets in 2 M steps/task, as for MT10; --algorithm.reset-every 285715 gives the six of MT50.",
    run=(("warmup_steps", 25_000), MILLION),
)
ARS_LORA = replace(
    ARS,
    name="ars-lora",
    description="ARS with low-rank adapters of each task's own in actor and critics",
    algorithm=replace(
        ARS.algorithm,
        actor=replace(_ars_actor, adapters=AdapterConfig(8)),
        critic=replace(_ars_critic, adapters=AdapterConfig(8)),
    ),
    small={
        **(ARS.small or {}),
        "actor": NetworkConfig("one_hot", width=WIDTH, depth=DEPTH, adapters=AdapterConfig(4)),
        "critic": replace(_ars_critic, width=WIDTH, depth=DEPTH, adapters=AdapterConfig(4)),
    },
    notes=f"{ARS.notes} Adapters are there from the start; the original adds them when training succeeds often enough. "
    "Rank 8 as for MT10; 16 for MT50.",
)
SIMBA_V2 = Method(
    "simba-v2",
    "SimbaV2: features and weights on spheres, values as distributions",
    "Lee et al., Hyperspherical Normalization for Scalable Deep RL, ICML 2025",
    SACConfig(
        actor=SimbaV2Config(width=128, blocks=1, task=CRITICS_CODE),
        critic=SimbaV2Config(width=512, blocks=2, task=SHARED_CODE),
        value=CriticConfig("c51"),
        scale=ScaleConfig("return_deviation"),
        normalize_obs=True,
        actor_learning_rate=1e-4,
        critic_learning_rate=1e-4,
        temperature_learning_rate=1e-4,
        initial_temperature=0.01,
        target_entropy_per_action=-0.5,
        max_gradient_norm=1e12,
        adam_epsilon=1e-8,
        spread="tanh",
        min_log_std=-10.0,
        **OF_ALL,
    ),
    {
        "actor": SimbaV2Config(width=64, blocks=1, task=CRITICS_CODE),
        "critic": SimbaV2Config(width=128, blocks=1, task=SHARED_CODE),
        "value": CriticConfig("c51"),
        "scale": ScaleConfig("return_deviation"),
        **MEAN,
        **OF_ALL,
    },
    notes="Published for single tasks: the task embedding is BRC's.",
)
POPART = Method(
    "popart",
    "multi-head SAC with targets normalised for each task, values kept (PopArt)",
    "van Hasselt et al., NeurIPS 2016; Hessel et al., AAAI 2019; rate of Continual World, NeurIPS 2021",
    SACConfig(**both(MultiHeadConfig()), value=CriticConfig("popart")),
    {"value": CriticConfig("popart"), **MEAN},
)
HL_GAUSS = Method(
    "hl-gauss",
    "multi-head SAC with values as histograms",
    "Farebrother et al., Stop Regressing, ICML 2024",
    SACConfig(**both(MultiHeadConfig()), value=CriticConfig("hl_gauss"), scale=ScaleConfig("return_range"), **OF_ALL),
    {"value": CriticConfig("hl_gauss"), "scale": ScaleConfig("return_range"), **MEAN, **OF_ALL},
    notes="Scale of rewards, mean over critics and 101 bins on [-10, 10] as in BRC.",
)
METHODS = [BRC, ARS, ARS_LORA, SIMBA_V2, POPART, HL_GAUSS]
