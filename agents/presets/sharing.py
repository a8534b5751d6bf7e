"""Methods that differ in how tasks share layers, in the frame of Meta-World+."""

from mtrl.parts.combiner import CombinerConfig
from mtrl.parts.network import NetworkConfig

from ..networks.care import CareConfig
from ..networks.film import FilmConfig
from ..networks.front_ends import FrontEndsConfig
from ..networks.hypernet import HypernetConfig
from ..networks.moore import MooreConfig
from ..networks.multi_head import MultiHeadConfig
from ..networks.paco import PaCoConfig
from ..networks.soft_modules import SoftModulesConfig
from ..sac_config import SACConfig
from .method import META_WORLD_PLUS, SIZE, WIDTH, Method, both, combined

YU = f"Yu et al., Meta-World, CoRL 2019; settings of {META_WORLD_PLUS}"
SCALING = "McLean et al., Multi-Task Reinforcement Learning Enables Parameter Scaling, RLC 2025"


def _on_mt50(method: Method, config: SACConfig) -> Method:
    """The size that the authors take for MT50."""
    return Method(f"{method.name}-mt50", f"{method.name} at the size for MT50", method.source, config, None)


SOFT_MODULES = Method(
    "soft-modules",
    "soft modularization: layers of modules, mixed as state and task decide",
    f"Yang et al., NeurIPS 2020; settings of {META_WORLD_PLUS}",
    SACConfig(**both(SoftModulesConfig(width=256, depth=2)), **combined(CombinerConfig("temperature"))),
    both(SoftModulesConfig(base_width=WIDTH, routing_width=WIDTH, **SIZE)),
    notes="Modules of 256 units as in Meta-World+; the original has 128 and trains with horizon 200.",
)
CARE = Method(
    "care",
    "CARE: experts encode the state, attention from the task's context mixes them",
    f"Sodhani et al., ICML 2021; settings of {META_WORLD_PLUS}",
    SACConfig(**both(CareConfig())),
    both(CareConfig(experts=4, **SIZE)),
    notes="The context comes from a learned embedding, as in Meta-World+; the original takes sentence embeddings of "
    "task descriptions (--algorithm.actor.task.code file) and shares the encoder between actor and critics.",
)
PACO = Method(
    "paco",
    "PaCo: each task's parameters are a learned mixture of shared sets",
    f"Sun et al., NeurIPS 2022; settings of {META_WORLD_PLUS}",
    SACConfig(**both(PaCoConfig()), loss_limit=3e3),
    {**both(PaCoConfig(sets=3, **SIZE))},
    notes="Tasks whose critic loss passes 3000 sit out and begin their mixture anew, as in the original.",
)
MOORE = Method(
    "moore",
    "MOORE: orthogonal experts, mixed for each task",
    f"Hendawy et al., ICLR 2024; settings of {META_WORLD_PLUS}",
    SACConfig(**both(MooreConfig()), min_log_std=-10.0),
    both(MooreConfig(experts=3, **SIZE)),
)
METHODS = [
    Method(
        "mtsac",
        "multi-task SAC, all layers shared, the task as one-hot input",
        YU,
        SACConfig(**both(NetworkConfig("one_hot"))),
        both(NetworkConfig("one_hot", **SIZE)),
    ),
    Method("mtmhsac", "multi-task SAC with a head for each task", YU, SACConfig(**both(MultiHeadConfig())), {}),
    *(
        Method(
            f"mtmhsac-{width}",
            f"multi-task SAC with a head for each task, {width} units wide",
            SCALING,
            SACConfig(**both(MultiHeadConfig(width=width))),
            None,
        )
        for width in (256, 512, 1024, 2048, 4096)
    ),
    Method(
        "front-ends",
        "a front end and a head for each task, shared decision layers between that fit any suite",
        f"D'Eramo et al., Sharing Knowledge in Multi-Task Deep RL, ICLR 2020; settings of {META_WORLD_PLUS}",
        SACConfig(**both(FrontEndsConfig())),
        both(FrontEndsConfig(**SIZE)),
        notes="The sizes of the front ends are settings of this project.",
    ),
    SOFT_MODULES,
    _on_mt50(
        SOFT_MODULES,
        SACConfig(**both(SoftModulesConfig(width=256, depth=4, modules=4)), **combined(CombinerConfig("temperature"))),
    ),
    CARE,
    _on_mt50(CARE, SACConfig(**both(CareConfig(experts=10)))),
    PACO,
    _on_mt50(PACO, SACConfig(**both(PaCoConfig(sets=20)), loss_limit=3e3)),
    MOORE,
    _on_mt50(MOORE, SACConfig(**both(MooreConfig(experts=6)), min_log_std=-10.0)),
    Method(
        "film",
        "FiLM: the task scales and shifts the layers of an encoder",
        f"Perez et al., AAAI 2018; settings of {META_WORLD_PLUS}",
        SACConfig(**both(FilmConfig())),
        both(FilmConfig(**SIZE)),
    ),
    Method(
        "hypernet",
        "a hypernetwork makes the weights of each task's network",
        "Ha et al., HyperNetworks, ICLR 2017; Beck et al., Hypernetworks in Meta-RL, CoRL 2022",
        SACConfig(**both(HypernetConfig())),
        both(HypernetConfig(width=64, depth=1, main_width=WIDTH, layer_norm=True)),
        notes="No published agent for Meta-World's multi-task suites: the sizes are settings of this project.",
    ),
]
