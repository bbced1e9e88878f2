"""A `Net` from a flax module, or from plain functions."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import errors
from flax import linen as nn

from lrn.check import InputError
from lrn.types import Array, Key, Net, NetState, Params
from lrn.xla.parts import batch_axis

# Names of arguments and fields that tell a module whether it trains, with their values in training.
_TRAIN_ARGUMENTS = {
    "train": True,
    "training": True,
    "is_training": True,
    "is_train": True,
    "train_mode": True,
    "update_stats": True,
    "deterministic": False,
    "use_running_average": False,
    "inference": False,
    "eval": False,
    "is_eval": False,
    "eval_mode": False,
}

_MISFITS = (
    errors.ScopeParamShapeError,
    errors.ScopeParamNotFoundError,
    errors.ScopeCollectionNotFound,
    errors.ScopeVariableNotFoundError,
)


def from_flax(module: nn.Module, *, fixed_mode: bool = False) -> Net:
    """The `Net` of a `flax.linen` module.

    A module learns whether it trains from an argument of its ``__call__``, or else from a field, of one
    of these
    names: ``train``, ``training``, ``is_training``, ``is_train``, ``train_mode``, ``update_stats``,
    ``deterministic``, ``use_running_average``, ``inference``, ``eval``, ``is_eval``, ``eval_mode``. The
    network's state is all collections that the module's `init` makes, except "params" and "intermediates"
    (for BatchNorm: "batch_stats"), or () if there are none. One key serves all random streams of the module.

    Args:
        module: an instance of the module.
        fixed_mode: True for a module with flax layers that must not follow the mode, such as a frozen
            BatchNorm, or dropout that is always on. With False such a layer raises an error, because it
            looks like a layer that the module forgot to tell its mode.

    Raises:
        ValueError: ``module`` is no instance of a flax.linen module, or its ``__call__`` has an unknown
            argument without a default; from `init` and `apply`: parameters or state do not fit the input,
            a random layer has no key, a BatchNorm, a dropout or the state does not follow the mode, or
            the state changes its form.
    """
    if not isinstance(module, nn.Module):
        raise InputError(_no_module(module))
    name = type(module).__name__
    flags, others = _arguments(module)
    fields = [] if fixed_mode else _fields(module, flags)

    def told(train: bool) -> tuple[nn.Module, dict[str, Any]]:
        """The module with its fields set, and the arguments of its call, for training or evaluation."""
        values = {flag: value is train for flag, value in _TRAIN_ARGUMENTS.items()}
        changed: dict[str, Any] = {flag: values[flag] for flag in fields}
        model = module.clone(**changed) if fields else module
        return model, {flag: values[flag] for flag in flags}

    def init(key: Key, x: Array) -> tuple[Params, NetState]:
        model, arguments = told(False)
        try:  # lazy_init makes the parameters without computing the network's output
            variables = dict(model.lazy_init(key, x, **arguments))
        except errors.LazyInitError:  # the parameters depend on the values of x
            variables = dict(model.init(key, x, **arguments))
        params = variables.pop("params", {})
        variables.pop("intermediates", None)
        return params, variables or ()

    def apply(
        params: Params, state: NetState, x: Array, *, key: Key | None = None, train: bool = False
    ) -> tuple[Array, NetState]:
        model, arguments = told(train)
        variables = {"params": params, **(state or {})}
        mutable = list(state) if train and state else False
        try:
            with nn.intercept_methods(_watch(name, train, others, fixed_mode)):
                out: Any = model.apply(variables, x, rngs=key, mutable=mutable, **arguments)
        except errors.InvalidRngError as error:
            when = "training" if train else "evaluated"
            raise InputError(f"{name} draws random numbers while {when}; pass key= to apply.") from error
        except errors.ModifyScopeVariableError as error:
            raise InputError(
                f"{name} changes a variable {'that its init does not make' if train else 'while evaluated'}; "
                "make it change what init makes, and only while it trains."
            ) from error
        except _MISFITS as error:
            raise InputError(
                f"the parameters or the state do not fit {name} on x of shape "
                f"{jax.tree.map(jnp.shape, x)}; use those "
                f"its init gave for this shape{', and make in evaluation what training uses' * train}."
            ) from error
        if not mutable:
            return out, state
        out, new = out
        _check_state(name, state, new)
        if others and not (flags or fields or fixed_mode) and _unmoved(state, new):
            raise InputError(
                f"training does not move the state of {name}, whose __call__ takes {', '.join(others)}; give "
                "it an argument train, by which from_flax tells it, or set fixed_mode=True."
            )
        return out, new

    return Net(init, apply)


def _no_module(module: Any) -> str:
    name = getattr(module, "__qualname__", type(module).__name__)
    wanted = f"module must be an instance of flax.linen.Module, got {name}; "
    if isinstance(module, type) and issubclass(module, nn.Module):
        return wanted + "build the module first."
    if any(kind.__module__.startswith("flax.nnx") for kind in inspect.getmro(type(module))):
        return wanted + (
            "that module is of flax.nnx: split it by nnx.split, and give from_function its state and a "
            "function that merges the parts and calls them."
        )
    return wanted + "use from_function for plain functions and for modules of other libraries."


def _arguments(module: nn.Module) -> tuple[list[str], list[str]]:
    """The arguments of ``__call__`` after its input: those of the training mode, and all others."""
    parameters = list(inspect.signature(module.__call__).parameters.values())[1:]
    flags = [p.name for p in parameters if p.name in _TRAIN_ARGUMENTS]
    others = [p for p in parameters if p.name not in _TRAIN_ARGUMENTS]
    for p in others:
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
            raise InputError(
                f"{type(module).__name__}.__call__ asks for {p.name!r}, which from_flax does not know; "
                "give it a default, or, where it says whether the module trains, call it train."
            )
    return flags, [f"**{p.name}" if p.kind is p.VAR_KEYWORD else p.name for p in others]


def _fields(module: nn.Module, flags: list[str]) -> list[str]:
    """The fields of a module for the training mode, without those that are arguments of its call too."""
    names = [field.name for field in dataclasses.fields(module)]  # pyright: ignore[reportArgumentType]
    known = [name for name in names if name in _TRAIN_ARGUMENTS and name not in flags]
    return [name for name in known if isinstance(getattr(module, name), bool | None)]


def _watch(name: str, train: bool, others: list[str], fixed_mode: bool) -> Callable[..., Any]:
    """An interceptor of flax that raises an error at a layer that does not follow the mode.

    Where devices share one batch (`lrn.xla.parts.as_one_batch`), BatchNorm normalizes by its statistics.
    """

    def watch(call: Callable, args: tuple, kwargs: dict, context: Any) -> Any:
        axis = batch_axis()
        if axis is not None and isinstance(context.module, nn.BatchNorm) and context.module.axis_name is None:
            # The module is a copy of this application; flax freezes its fields for all others.
            object.__setattr__(context.module, "axis_name", axis)
        flag = None if fixed_mode or context.method_name != "__call__" else _flag(context.module)
        if flag is not None:
            given = inspect.signature(context.module.__call__).bind(*args, **kwargs).arguments.get(flag)
            value = getattr(context.module, flag, None) if given is None else given
            if value is (_TRAIN_ARGUMENTS[flag] is not train):
                layer = "/".join(context.module.path) or "itself"
                unknown = f" (its __call__ takes {', '.join(others)})" if others else ""
                raise InputError(
                    f"{name}{unknown} does not tell its {type(context.module).__name__} {layer!r} that it "
                    f"{'trains' if train else 'is evaluated'}: {flag} is {value}; give every module on the "
                    "way an argument train and pass it on, or set fixed_mode=True if the layer is to stay so."
                )
        return call(*args, **kwargs)

    return watch


def _flag(layer: nn.Module) -> str | None:
    """The argument that sets the mode of a flax layer; None for a layer that is the same in both modes."""
    if isinstance(layer, nn.BatchNorm):
        return "use_running_average"
    if isinstance(layer, nn.SpectralNorm):
        return "update_stats"
    rates = {nn.Dropout: "rate", nn.MultiHeadDotProductAttention: "dropout_rate"}
    for kind, field in rates.items():
        if isinstance(layer, kind):
            rate = getattr(layer, field)
            return None if isinstance(rate, (int, float)) and rate == 0 else "deterministic"
    return None


def _check_state(name: str, old: Mapping, new: Mapping) -> None:
    """Raise ValueError unless the state keeps its shapes and dtypes, which a loop over steps requires."""

    def form(tree: Any) -> list:
        return [(jnp.shape(leaf), jnp.result_type(leaf)) for leaf in jax.tree.leaves(tree)]

    for collection in old:
        if form(old[collection]) != form(new.get(collection, ())):
            raise InputError(
                f"a training step changes the form of the collection {collection!r} of {name}; keep its "
                "shapes and dtypes, and sow into 'intermediates' what is no state."
            )


def _unmoved(old: Mapping, new: Mapping) -> bool:
    return all(a is b for a, b in zip(jax.tree.leaves(dict(old)), jax.tree.leaves(dict(new))))


def from_function(init: Callable[[Key, Array], Params], apply: Callable[[Params, Array], Any]) -> Net:
    """The `Net` of plain functions, for a network without state or random numbers.

    Args:
        init: ``init(key, x) -> params``.
        apply: ``apply(params, x) -> output`` for ``x`` of shape [batch, ...]; the output is an array or a
            tuple of arrays.

    Raises:
        ValueError: an argument is not callable or belongs to a flax module, or ``apply`` has an argument
            for a key or for the training mode, which it would never receive.
    """
    for name, function in {"init": init, "apply": apply}.items():
        if not callable(function):
            raise InputError(f"{name} must be a function, got {function!r}; pass the function itself.")
        if isinstance(getattr(function, "__self__", None), nn.Module):
            raise InputError(f"{name} is a method of a flax module; pass the module itself to from_flax.")
    for name in _parameters(apply):
        if name in _TRAIN_ARGUMENTS or name in ("key", "rng", "rngs"):
            raise InputError(
                f"apply asks for {name!r}, and from_function gives parameters and input alone; "
                "write Net(init, apply) yourself, whose apply gets key= and train=."
            )

    def net_apply(
        params: Params, state: NetState, x: Array, *, key: Key | None = None, train: bool = False
    ) -> tuple[Array, NetState]:
        return apply(params, x), state

    return Net(lambda key, x: (init(key, x), ()), net_apply)


def _parameters(function: Callable) -> list[str]:
    """The names of a function's parameters, without the first two and those that a partial has set."""
    try:
        names = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # some builtins have no signature
        return []
    return [name for name in names[2:] if name not in getattr(function, "keywords", {})]
