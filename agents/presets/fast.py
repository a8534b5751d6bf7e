"""`fast`: soft actor-critic for many worlds, of the parts that proved themselves there, and its form for a laptop."""

from dataclasses import replace

from mtrl.algorithm import AGENTS, AgentPreset
from mtrl.config import EvaluationConfig, ReplayConfig, RunConfig
from mtrl.parts.combiner import CombinerConfig
from mtrl.parts.critic import CriticConfig
from mtrl.parts.network import ConditioningConfig, NetworkConfig
from mtrl.parts.scale import ScaleConfig

from ..sac import SAC
from ..sac_config import SACConfig
from .method import combined
from .quick import QUICK

_wide = NetworkConfig("one_hot", width=512, depth=3, layer_norm=True, task=ConditioningConfig("critic"))
_small = replace(_wide, width=256, depth=2)
_shared = ConditioningConfig("embedding", dim=32, norm="unit", shared=True)
_parts = {
    "value": CriticConfig("c51"),
    "scale": ScaleConfig("return_deviation"),
    "normalize_obs": True,
    "precision": "bfloat16",
    "gamma": 0.97,
    "n_step": 3,
    "target_entropy_per_action": -0.5,
    "initial_temperature": 0.01,
    **combined(CombinerConfig("mean")),
}
WORLDS = 400
"""Of each task: 4,000 for MT10."""
HELD = 2_048
"""Steps of each world in the replay."""
FAST = RunConfig(
    agent="fast",
    steps_per_task=8_000_000,
    slots_per_task=WORLDS,
    warmup_steps=16_000,
    updates_per_step=2.0,
    random_progress=True,
    replay=ReplayConfig(capacity_per_task=WORLDS * HELD),
    evaluation=EvaluationConfig(every=2_000_000, goals=10),
    algorithm=SACConfig(
        actor=_wide,
        critic=replace(_wide, width=1_024, task=_shared),
        batch_per_task=1_600,
        tau=0.05,
        weight_decay=0.01,
        **_parts,
    ),
)
FAST_SMALL = replace(
    QUICK,
    agent="fast-small",
    algorithm=replace(QUICK.algorithm, actor=_small, critic=replace(_small, task=_shared), **_parts),
)
FAST_SMALL_MT10 = replace(
    FAST_SMALL,
    agent="fast-small-mt10",
    steps_per_task=640_000,
    evaluation=replace(FAST_SMALL.evaluation, every=160_000),
    algorithm=replace(FAST_SMALL.algorithm, anneal_after=30_000, anneal_updates=9_000),
)
_SOURCE = (
    "parts of FastTD3 (Seo et al., 2025) and BRC (Nauman et al., 2025) on SAC (Haarnoja et al., 2018); "
    "settings of this project"
)
for _defaults, _description, _cost in (
    (FAST, "SAC for thousands of worlds: values as distributions, large batches, half precision", "not measured"),
    (
        FAST_SMALL,
        "small form of fast for a laptop",
        "MT3: 4 to 5 minutes of training beside other runs on 2 CPU cores (measured)",
    ),
    (
        FAST_SMALL_MT10,
        "fast-small, long enough for ten tasks",
        "MT10: 45 to 54 minutes of training beside other runs on 2 CPU cores, 44 CPU minutes (measured)",
    ),
):
    AGENTS.register(_defaults.agent, AgentPreset(_defaults.agent, _defaults, SAC, _cost, _SOURCE), _description)
