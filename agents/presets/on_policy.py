"""Presets of proximal policy optimisation."""

from dataclasses import replace

from mtrl.algorithm import AGENTS, AgentPreset
from mtrl.config import EvaluationConfig, RunConfig
from mtrl.parts.combiner import CombinerConfig

from ..critics.popart import PopArtConfig
from ..networks.multi_head import MultiHeadConfig
from ..ppo import PPO
from ..ppo_config import PPOConfig
from .method import META_WORLD_PLUS

_wide = MultiHeadConfig()
_wide_critic = replace(_wide, layer_norm=True)
_balanced = {"actor_combiner": CombinerConfig("pcgrad"), "critic_combiner": CombinerConfig("fairgrad")}
LONG = RunConfig(
    agent="ppo",
    slots_per_task=20,
    warmup_steps=0,
    algorithm=PPOConfig(
        actor=_wide,
        critic=_wide,
        baseline="linear",
        rollout_steps=500,
        epochs=16,
        minibatches=32,
        gae_lambda=0.97,
        advantages="none",
    ),
)
"""Whole episodes of few worlds."""
BALANCED = replace(
    LONG,
    agent="toppo",
    algorithm=replace(
        LONG.algorithm,
        critic=_wide_critic,
        value=PopArtConfig(beta=0.2),
        baseline="critic",
        gae_lambda=0.95,
        advantages="task",
        **_balanced,
    ),
)
SMALL = RunConfig(
    agent="ppo-small",
    steps_per_task=600_000,
    slots_per_task=16,
    warmup_steps=4_096,
    random_progress=True,
    evaluation=EvaluationConfig(every=100_000, goals=10, slots_per_task=10),
    algorithm=PPOConfig(
        actor=MultiHeadConfig(width=256, depth=2),
        critic=MultiHeadConfig(width=256, depth=2, layer_norm=True),
        value=PopArtConfig(beta=0.2),
        rollout_steps=128,
        epochs=5,
        minibatches=8,
        overlap=True,
        normalize_obs=True,
        normalize_obs_steps=4_096,
        initial_log_std=-0.5,
    ),
)
"""Short rollouts of some worlds, learned from while the next are collected."""
BALANCED_SMALL = replace(SMALL, agent="toppo-small", algorithm=replace(SMALL.algorithm, **_balanced))

_SCHULMAN = "Schulman et al., Proximal Policy Optimization Algorithms, 2017"
_TOPPO = "TOPPO, arXiv 2605.11473, 2026"
_COST = "not measured"
_SMALL_COST = "MT3: 12 to 15 minutes of training beside two other runs on 2 CPU cores (measured)"
for _defaults, _description, _source, _notes, _cost in (
    (
        LONG,
        "multi-task PPO with a linear baseline, whole episodes at a time",
        f"{_SCHULMAN}; settings of {META_WORLD_PLUS}",
        "Network and spread (multi-head, a spread of each task's own) are settings of this project.",
        _COST,
    ),
    (
        BALANCED,
        "TOPPO: PPO with PopArt, layer normalisation and a combiner for each side",
        _TOPPO,
        "Learning rates, batches and the rate of PopArt are not told by the source and are those of ppo, or of this "
        "project.",
        _COST,
    ),
    (
        SMALL,
        "multi-task PPO for a laptop: normalised observations, values and advantages, no gradient surgery",
        f"{_SCHULMAN}; settings of this project",
        "",
        _SMALL_COST,
    ),
    (
        BALANCED_SMALL,
        "small form of toppo for a laptop",
        f"{_TOPPO}; settings of this project",
        "ppo-small with toppo's combiners.",
        _SMALL_COST,
    ),
):
    AGENTS.register(
        _defaults.agent,
        AgentPreset(_defaults.agent, _defaults, PPO, _cost, _source, notes=_notes),
        _description,
    )
