"""A jitted function whose compilation can be timed, and run beside others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax


class Compiled:
    """A jitted function that is compiled once, for one set of shapes.

    Under `jax.disable_jit` the plain function runs instead.
    """

    def __init__(self, jitted: Any, plain: Callable[..., Any]):
        self._jitted, self._plain, self._compiled = jitted, plain, None
        self.options: dict[str, Any] | None = None

    def lower(self, *args: Any) -> Callable[[], None]:
        """Trace and lower the function; return a function that compiles it, also in another thread."""
        if self._compiled is not None or no_jit():
            return lambda: None
        lowered = self._jitted.lower(*args)

        def finish() -> None:
            self._compiled = lowered.compile(compiler_options=self.options)

        return finish

    def memory(self) -> dict[str, int]:
        """The bytes of "arguments", "outputs" and "temporaries"; empty where they are not known."""
        analysis = None if self._compiled is None else self._compiled.memory_analysis()
        if analysis is None:
            return {}
        names = {"arguments": "argument", "outputs": "output", "temporaries": "temp"}
        return {name: int(getattr(analysis, f"{part}_size_in_bytes")) for name, part in names.items()}

    def __call__(self, *args: Any) -> Any:
        """Run the function; the first call compiles it unless `lower` did."""
        if no_jit():
            return self._plain(*args)
        self.lower(*args)()
        assert self._compiled is not None
        return self._compiled(*args)


def no_jit() -> bool:
    """Whether the caller is inside of `jax.disable_jit`."""
    return bool(jax.config.jax_disable_jit)  # pyright: ignore[reportAttributeAccessIssue]
