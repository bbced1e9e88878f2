"""Tasks whose support set is another task's: a control that nothing adapted to can pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lrn.meta.episode import TaskFamily


def wrong_support(family: TaskFamily) -> TaskFamily:
    """The same queries, and the support set of an independent task."""
    import jax

    def sample(key: Any) -> Any:
        return tuple(map(family.sample, jax.random.split(key)))

    def batch(key: Any, task: Any) -> Any:
        ours, others = jax.random.split(key)
        return family.batch(others, task[1])[0], family.batch(ours, task[0])[1]

    def code(task: Any) -> Any:
        return () if family.code is None else family.code(task[0])

    return family._replace(name=f"{family.name}, wrong support", sample=sample, batch=batch, code=code)
