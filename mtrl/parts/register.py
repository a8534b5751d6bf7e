"""Registering parts of your own: networks, critics, combiners and scales, one decorator each."""

from collections.abc import Callable
from typing import Any, TypeVar

from mtrl.registry import Registry

from .combiner import COMBINERS, CombinerConfig
from .critic import CRITICS, CriticConfig
from .network import NETWORKS, NetworkConfig
from .part import Part, PartConfig
from .scale import SCALES, ScaleConfig

Builder = TypeVar("Builder", bound=Callable[..., Any])


def register_network(
    name: str, *, description: str, config: type[NetworkConfig] = NetworkConfig
) -> Callable[[Builder], Builder]:
    """Decorator that registers a network: a `mtrl.parts.Network` class, made with `(shape, config, generator)`.

    It is used as `--network NAME`, or for one side as `--algorithm.actor.name NAME`.

    Args:
        name: Under which it is found.
        description: One line.
        config: Frozen dataclass of its settings, a subclass of `NetworkConfig`, whose fields become options.
    """
    return _register_part(NETWORKS, name, config, description)


def register_critic(
    name: str, *, description: str, config: type[CriticConfig] = CriticConfig
) -> Callable[[Builder], Builder]:
    """Decorator that registers a critic: a `mtrl.parts.Critic` class, made with `(setting, config)`.

    It is used as `--critic NAME`. Arguments as of `register_network`.
    """
    return _register_part(CRITICS, name, config, description)


def register_combiner(
    name: str, *, description: str, config: type[CombinerConfig] = CombinerConfig
) -> Callable[[Builder], Builder]:
    """Decorator that registers a combiner: a `mtrl.combining.Combiner` class, made with `(setting, config)`.

    It is used as `--combiner NAME`, or for one side as `--algorithm.actor-combiner.name NAME`. Arguments as of
    `register_network`.
    """
    return _register_part(COMBINERS, name, config, description)


def register_scale(
    name: str, *, description: str, config: type[ScaleConfig] = ScaleConfig
) -> Callable[[Builder], Builder]:
    """Decorator that registers a scale of rewards: a `mtrl.parts.Scale` class, made with `(setting, config)`.

    It is used as `--algorithm.scale.name NAME`. Arguments as of `register_network`.
    """
    return _register_part(SCALES, name, config, description)


def _register_part(
    registry: Registry[Part[Any]], name: str, config: type[PartConfig], description: str
) -> Callable[[Builder], Builder]:
    def register(builder: Builder) -> Builder:
        registry.register(name, Part(config, builder), description)
        return builder

    return register
