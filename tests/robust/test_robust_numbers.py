"""The lines of published robustness: their trainings and figures have the right form, and lines resume."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.bench import _robust_cifar, robust_numbers
from experiments.bench._robust_lines import Line, on_attacked
from lrn import nets
from lrn.robust.rs_fgsm import RSFGSMConfig, rs_fgsm
from lrn.supervised.learner import weights

LINES = {**robust_numbers.LINES, **_robust_cifar.LINES}
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in _robust_cifar.LINES]


@pytest.mark.parametrize("name", ["fast", "smoothing .25", *SLOW])
def test_each_line_trains_and_gives_the_figures_that_it_must_reach(name):
    """Shapes only: nothing is compiled."""
    line, side = LINES[name], (28, 28, 1) if LINES[name].dataset == "mnist" else (32, 32, 3)
    batch = {"image": jnp.zeros((4, *side)), "label": jnp.zeros(4, jnp.int32)}
    learner, key = line.learner(100), jax.random.key(0)
    state = jax.eval_shape(learner.init, key, batch)
    after, _ = jax.eval_shape(learner.step, key, state, batch)
    assert jax.tree.map(lambda leaf: leaf.shape, after) == jax.tree.map(lambda leaf: leaf.shape, state)

    def figures(key, state, x, y):
        params, net_state = weights(state)
        return line.judge(key, lambda z: line.net.apply(params, net_state, z)[0], x, y)

    found = jax.eval_shape(figures, key, state, batch["image"], batch["label"])
    assert {*line.known, *line.most} <= {*found, "clean"}
    assert all(figure.shape == () for figure in found.values())


def test_a_stopped_line_resumes_and_its_parts_add_up(tmp_path, monkeypatch, capsys):
    net, judged = nets.mlp(10, (4,)), []

    def judge(key, logits_fn, x, y):
        jax.debug.callback(lambda: judged.append(1))
        return {"right": jnp.mean(logits_fn(x).argmax(1) == y)}

    def learner(steps):
        return on_attacked(net, robust_numbers.triangle(0.01, steps), rs_fgsm(RSFGSMConfig(0.1)))

    line = Line(learner, net, 1, judge, {}, {"right": 0.0}, 2)
    monkeypatch.setattr(robust_numbers, "device_per_processor", lambda: None)  # is for a process of its own
    monkeypatch.setattr(robust_numbers, "LINES", {"toy": line})
    digits = np.random.default_rng(0).integers(0, 256, (300, 6, 6, 1), dtype=np.uint8)
    images = {"image": digits, "label": (np.arange(300) % 10).astype(np.int32)}
    monkeypatch.setattr(robust_numbers.data, "load", lambda name, split: images)

    def run(*options):
        judged.clear()
        file = tmp_path / "figures.json"
        code = robust_numbers.main(["--images", "20", "--save", str(tmp_path), "--json", str(file), *options])
        jax.effects_barrier()
        return code, len(judged), json.loads(file.read_text())["toy"]

    code, times, first = run("--seeds", "1")
    assert (code, times, first["seeds"]) == (1, 1, 1)  # the share of right ones is above "most"
    code, times, both = run("--seeds", "1", "--first-seed", "1")
    assert (times, both["seeds"]) == (1, 2)
    assert both["figures"]["right"]["by_seed"][0] == first["figures"]["right"]["by_seed"][0]
    assert run("--seeds", "1")[1] == 0
    assert "most 0  short of it" in capsys.readouterr().out
