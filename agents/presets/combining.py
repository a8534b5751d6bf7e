"""Methods that differ in how the losses or gradients of tasks become one update, over the network of mtmhsac."""

from typing import Any

from mtrl.parts.combiner import CombinerConfig

from ..combiners.cagrad import CAGradConfig
from ..combiners.fairgrad import FairGradConfig
from ..combiners.flat_regions import FlatRegionsConfig
from ..combiners.gradnorm import GradNormConfig
from ..sac_config import SACConfig
from .method import META_WORLD_PLUS, Method, combined

PLUS = f"network and training of {META_WORLD_PLUS}"
BOTH_SIDES = "Actor and critics alike."
CRITIC_ONLY = "The critics alone, as in published runs: their losses are never negative. The actor takes the mean."


def _method(name: str, description: str, source: str, config: CombinerConfig, *, critic_only: bool = False) -> Method:
    changes: dict[str, Any] = {"critic_combiner": config} if critic_only else combined(config)
    notes = CRITIC_ONLY if critic_only else BOTH_SIDES
    return Method(name, description, f"{source}; {PLUS}", SACConfig(**changes), changes, notes)


METHODS = [
    _method(
        "uncertainty",
        "losses weighted by learned uncertainties",
        "Kendall et al., CVPR 2018",
        CombinerConfig("uncertainty"),
        critic_only=True,
    ),
    _method(
        "gradnorm",
        "gradient norms of all tasks brought to one size and pace",
        "Chen et al., ICML 2018",
        GradNormConfig("gradnorm", exponent=0.12),
    ),
    _method(
        "mgda",
        "the shortest vector in the hull of all gradients",
        "Sener and Koltun, NeurIPS 2018",
        CombinerConfig("mgda"),
    ),
    _method(
        "pcgrad", "PCGrad: conflicting gradients are projected", "Yu et al., NeurIPS 2020", CombinerConfig("pcgrad")
    ),
    _method(
        "cagrad",
        "CAGrad: the best worst task near the mean gradient",
        "Liu et al., NeurIPS 2021",
        CAGradConfig("cagrad", c=0.9),
    ),
    _method(
        "nash",
        "Nash-MTL: the bargaining solution of the tasks",
        "Navon et al., ICML 2022",
        CombinerConfig("nash"),
        critic_only=True,
    ),
    _method(
        "famo",
        "FAMO: all losses fall at the same rate, without single gradients",
        "Liu et al., NeurIPS 2023",
        CombinerConfig("famo"),
        critic_only=True,
    ),
    _method(
        "fairgrad", "FairGrad: alpha-fair shares of the progress", "Ban and Ji, ICML 2024", FairGradConfig("fairgrad")
    ),
    _method(
        "flat-regions",
        "task-based flat regions: sharpness-aware steps of each task, combined by PCGrad",
        "Phan et al., Beyond Losses Reweighting, ICCV 2025",
        FlatRegionsConfig("flat_regions", inner=CombinerConfig("pcgrad")),
    ),
]
