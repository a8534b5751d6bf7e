"""Compiling torch code, where a run asks for it."""

import itertools
from collections.abc import Callable
from types import FunctionType
from typing import Any, TypeVar

from mtrl.errors import UserError

VARIANTS = 64
_copies = itertools.count(1)
Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function, what: str) -> Function:
    """The function, compiled when it is first called; later runs find most of the work in torch's own cache.

    Every result is compiled for itself: what one of them is called with counts towards no other's `VARIANTS`.

    Args:
        function: Torch code with static shapes.
        what: What it computes, for messages.

    Raises:
        UserError: At the first call, where there is no C++ compiler.
    """
    import torch._dynamo
    from torch._dynamo.exc import BackendCompilerFailed  # a second of importing that few runs need

    # Networks are called with and without gradients, for batches and for slots: more variants than torch expects.
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, VARIANTS)
    fast = torch.compile(_copy(function), dynamic=False)

    def call(*arguments: Any) -> Any:
        try:
            return fast(*arguments)
        except BackendCompilerFailed as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(
                f"{what} cannot be compiled ({reason}): install a C++ compiler (Debian: g++), or leave out --compile"
            ) from error

    return call  # pyright: ignore[reportReturnType] - the same signature


def _copy(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function with code of its own, by which torch knows what it has compiled."""
    if not isinstance(function, FunctionType):
        return function
    code = function.__code__.replace(co_name=f"{function.__name__}_{next(_copies)}")
    copied = FunctionType(code, function.__globals__, code.co_name, function.__defaults__, function.__closure__)
    copied.__kwdefaults__ = function.__kwdefaults__
    return copied
