"""Compiling torch code, where a run asks for it."""

from collections.abc import Callable
from typing import Any, TypeVar

from mtrl.errors import UserError

VARIANTS = 64
Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function, what: str) -> Function:
    """The function, compiled when it is first called; later runs find most of the work in torch's own cache.

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
    fast = torch.compile(function, dynamic=False)

    def call(*arguments: Any) -> Any:
        try:
            return fast(*arguments)
        except BackendCompilerFailed as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(
                f"{what} cannot be compiled ({reason}): install a C++ compiler (Debian: g++), or leave out --compile"
            ) from error

    return call  # pyright: ignore[reportReturnType] - the same signature
