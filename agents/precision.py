"""Networks in half precision: weights stay as they are, products are taken of shorter numbers."""

from collections.abc import Callable
from typing import Any, Literal

import torch

Precision = Literal["float32", "bfloat16"]


def in_precision(call: Callable[..., torch.Tensor], precision: Precision, device: torch.device) -> Any:
    """The same call of a network with its products in that precision; what comes out is float32.

    Args:
        call: Such as `mtrl.parts.network.call_network`.
        precision: Of products.
        device: Where the networks are.
    """
    if precision == "float32":
        return call

    def shortened(*arguments: Any) -> torch.Tensor:
        # Without its cache of shortened weights, which must not outlive a recorded update.
        with torch.autocast(device.type, torch.bfloat16, cache_enabled=False):
            return call(*arguments).to(torch.float32)

    return shortened
