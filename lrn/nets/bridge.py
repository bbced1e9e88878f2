"""Make a `Net` of a flax module or of plain functions."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from flax import errors
from flax import linen as nn

from lrn.types import Array, Key, Net, NetState, Params

# The names by which modules ask whether they train, and the value each expects while training.
_TRAIN_ARGUMENTS = {"train": True, "training": True, "deterministic": False, "use_running_average": False}

_MISFITS = (
    errors.ScopeParamShapeError,
    errors.ScopeParamNotFoundError,
    errors.ScopeCollectionNotFound,
    errors.ScopeVariableNotFoundError,
    errors.ModifyScopeVariableError,
)


def from_flax(module: nn.Module) -> Net:
    """Wrap a `flax.linen` module.

    Whether to train reaches a module whose ``__call__`` has an argument ``train``, ``training``,
    ``deterministic`` or ``use_running_average``. The state is every collection but "params" that
    `init` makes (BatchNorm: "batch_stats"), and () when there is none.

    Raises:
        ValueError: ``module`` is no flax module; or, from `init` and `apply`, the parameters or
            the state do not fit the input, or a random layer got no key.
    """
    if not isinstance(module, nn.Module):
        raise ValueError(
            f"module must be an instance of flax.linen.Module, got {module!r}; "
            "build the module, or use from_function for plain functions."
        )
    arguments = inspect.signature(module.__call__).parameters
    while_training = {name: value for name, value in _TRAIN_ARGUMENTS.items() if name in arguments}

    def flags(train: bool) -> dict[str, Any]:
        return {name: value if train else not value for name, value in while_training.items()}

    def init(key: Key, x: Array) -> tuple[Params, NetState]:
        try:  # to make the parameters without computing the network's output
            variables = dict(module.lazy_init(key, x, **flags(False)))
        except errors.LazyInitError:  # they depend on the values of x
            variables = dict(module.init(key, x, **flags(False)))
        params = variables.pop("params", {})
        variables.pop("intermediates", None)
        return params, variables or ()

    def apply(
        params: Params, state: NetState, x: Array, *, key: Key | None = None, train: bool = False
    ) -> tuple[Array, NetState]:
        variables = {"params": params, **(state or {})}
        mutable = list(state) if train and state else False
        try:
            out: Any = module.apply(variables, x, rngs=key, mutable=mutable, **flags(train))
        except errors.InvalidRngError as error:
            raise ValueError(
                f"{type(module).__name__} draws random numbers while training; pass key= to apply."
            ) from error
        except _MISFITS as error:
            raise ValueError(
                f"the parameters or the state do not fit {type(module).__name__} on x of shape "
                f"{tuple(x.shape)}; use those its init gave for inputs of this shape."
            ) from error
        return out if mutable else (out, state)

    return Net(init, apply)


def from_function(init: Callable[[Key, Array], Params], apply: Callable[[Params, Array], Any]) -> Net:
    """Wrap plain functions of a network without state or randomness.

    Args:
        init: ``init(key, x) -> params``.
        apply: ``apply(params, x) -> output`` for ``x`` of shape [batch, ...]; may be a tuple of arrays.

    Raises:
        ValueError: an argument is not callable.
    """
    for name, function in {"init": init, "apply": apply}.items():
        if not callable(function):
            raise ValueError(f"{name} must be a function, got {function!r}; pass the function itself.")

    def net_apply(
        params: Params, state: NetState, x: Array, *, key: Key | None = None, train: bool = False
    ) -> tuple[Array, NetState]:
        return apply(params, x), state

    return Net(lambda key, x: (init(key, x), ()), net_apply)
