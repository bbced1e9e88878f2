"""Does robustness to one attack carry over to the other? (O3)

Claim. A network made robust to FGSM, an attack of one step, stays vulnerable to PGD, one of many; and the
other way round.

Design. The same network is trained four ways, with the same initial weights and batches for each seed:
on clean images, on FGSM's, on RS-FGSM's (one step from a random start) and on PGD's. Each is then attacked,
at the same eps, by FGSM, by PGD (50 steps, restarts, the best point kept) and by Square, which needs no
gradient and so shows whether gradients are masked. That is the full matrix of training by attack. The claim
is read twice: within a network (does accuracy fall when the attack changes?) and between networks (is the
one trained against the attack better off?). No arm is tuned: all share one optimiser, chosen for clean
training, and one number of steps.

Margin. Ten points of accuracy. PGD is the stronger attack everywhere: published PGD-trained networks lose
up to ten points from FGSM to PGD (Madry et al. 2018, table of capacities), so less than that is the ordinary
distance between the attacks and no failure to transfer. A test set of 360 images resolves three points.

Controls. An attack allowed to change every pixel at will leaves nothing right; PGD's loss rises along its
path; each defence works against the attack it was trained on, and clean training works on clean images.
An arm that Square fools more often than PGD does is flagged: its gradients are masked, and its accuracy
under PGD is too high.

    python -m experiments.robust.attack_transfer --preset quick

Time on two cores: about a minute for quick (digits, ten seeds). Verdict to expect: mixed. FGSM training is
known to fail against PGD where it overfits to its own attack; that PGD training should fail against the
weaker FGSM is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from lrn import check
from lrn.study import Cell, Control, Exact, Prediction, Study, Superiority, Within

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lrn.runner import Context
    from lrn.table import Table

DEFENCES = ("standard", "FGSM", "RS-FGSM", "PGD")
ATTACKS = ("clean", "FGSM", "PGD", "Square")
MARGIN = 0.10
NOISE = 0.02  # of an accuracy over some hundred images: what Square may seem stronger by


class Setting(NamedTuple):
    """What belongs to a data set: the network, eps as the literature has it, steps, clean accuracy to reach.

    digits has no convention: eps is two thirds of MNIST's .3, since each of its pixels is the mean of
    a block of a larger scan and carries more of the picture.
    """

    net: str
    eps: float
    steps: int
    learning_rate: float
    clean: float


SETTINGS = {
    "digits": Setting("mlp", 0.2, 600, 0.05, 0.93),
    "fashion_mnist": Setting("cnn", 0.1, 10_000, 0.05, 0.85),
    "cifar10": Setting("resnet18", 8 / 255, 12_000, 0.05, 0.80),
}


@dataclass(frozen=True)
class Config:
    """Settings; ``None`` takes the data set's own.

    datasets: any of digits, fashion_mnist, cifar10. eps: Linf radius in pixels of [0, 1], of training and
    test alike. batch: images a step. train_steps: of the PGD trained on. steps, restarts, queries: of the
    attacks at test time. test_images: at most so many.
    """

    datasets: tuple[str, ...] = ("digits",)
    eps: float | None = None
    optimiser_steps: int | None = None
    batch: int = 128
    train_steps: int = 7
    steps: int = 50
    restarts: int = 5
    queries: int = 500
    test_images: int = 1000

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not self.datasets or len(set(self.datasets)) != len(self.datasets):
            raise check.InputError("datasets must name one or more different data sets; repeat none.")
        for name in self.datasets:
            check.choice("dataset", name, SETTINGS)
        if self.eps is not None:
            check.between("eps", self.eps, 0.0, 1.0)
        for name in ("batch", "train_steps", "steps", "restarts", "queries", "test_images"):
            check.integer(name, getattr(self, name), low=1)
        if self.optimiser_steps is not None:
            check.integer("optimiser_steps", self.optimiser_steps, low=1)


def arm(dataset: str, defence: str) -> str:
    """The name of an arm."""
    return f"{dataset}: {defence}"


def predictions(config: Config) -> Sequence[Prediction]:
    """What the claim says, for each data set: within a network and between networks, in both directions."""
    stated: list[Prediction] = []
    for dataset in config.datasets:
        for one, other in (("FGSM", "PGD"), ("PGD", "FGSM")):
            regime = f"{dataset}, from {one} to {other}"
            trained, rival = arm(dataset, one), arm(dataset, other)
            stated += [
                Superiority(
                    statement=f"On {dataset}, a network trained against {one} loses over 10 points to "
                    f"{other}.",
                    better=Cell(trained, one),
                    worse=Cell(trained, other),
                    margin=MARGIN,
                    regime=regime,
                    failed_as=0.0,
                ),
                Superiority(
                    statement=f"On {dataset}, {other} training beats {one} training against {other} "
                    "by over 10 points.",
                    better=Cell(rival, other),
                    worse=Cell(trained, other),
                    margin=MARGIN,
                    regime=regime,
                    failed_as=0.0,
                ),
            ]
    return stated


def controls(config: Config) -> Sequence[Control]:
    """What shows that an attack, or a training, is broken."""
    return [c for dataset in config.datasets for c in (*_premises(dataset), *_attacks_work(dataset))]


def _premises(dataset: str) -> list[Control]:
    """Training does what its name says."""
    standard, least = arm(dataset, "standard"), SETTINGS[dataset].clean
    learns = Within(
        statement=f"On {dataset}, clean training reaches {least:.0%} on clean test images.",
        cell=Cell(standard, "clean"),
        low=least,
        high=1.01,
    )
    protects = [
        Superiority(
            statement=f"On {dataset}, {defence} training protects against {defence} by over 10 points.",
            better=Cell(arm(dataset, defence), defence),
            worse=Cell(standard, defence),
            margin=MARGIN,
        )
        for defence in ("FGSM", "PGD")
    ]
    return [Control(learns), *map(Control, protects)]


def _attacks_work(dataset: str) -> list[Control]:
    """The attacks find what there is to find, in every arm."""
    stated = []
    for name in (arm(dataset, defence) for defence in DEFENCES):
        succeeds = Exact(
            statement=f"{name}: PGD that may change every pixel at will leaves no image right.",
            cell=Cell(name, "unbounded"),
            value=0.0,
        )
        rises = Exact(
            statement=f"{name}: PGD's loss rises along its path (no fall above 5% of its range).",
            cell=Cell(name, "loss drop"),
            value=0.0,
            atol=0.05,
        )
        unmasked = Superiority(
            statement=f"{name}: Square is no stronger than PGD by over 2 points; else gradients are masked.",
            better=Cell(name, "Square"),
            worse=Cell(name, "PGD"),
            margin=-NOISE,
        )
        stated += [Control(succeeds), Control(rises), Control(unmasked, consequence="flag")]
    return stated


def run(config: Config, context: Context) -> None:
    """Train the four arms on each data set, then attack them all."""
    for dataset in config.datasets:
        _run(dataset, config, context)


def _run(dataset: str, config: Config, context: Context) -> None:
    import jax
    import jax.numpy as jnp
    import numpy as np

    from lrn.data.sampler import minibatch
    from lrn.robust import validity
    from lrn.robust.adversarial_training import AdversarialTrainingConfig, adversarial_training
    from lrn.robust.attack import no_attack
    from lrn.robust.evaluate import correct_under_attack
    from lrn.robust.fgsm import FGSMConfig, fgsm
    from lrn.robust.pgd import PGDConfig, pgd
    from lrn.robust.rs_fgsm import RSFGSMConfig, rs_fgsm
    from lrn.robust.square import SquareConfig, square

    setting = SETTINGS[dataset]
    eps = setting.eps if config.eps is None else config.eps
    steps = config.optimiser_steps or setting.steps
    train, test = _load(dataset, context.seeds, config.test_images)
    net = _net(setting.net)
    strong = PGDConfig(
        eps=eps, step_size=max(2.5 * eps / config.steps, 1e-6), steps=config.steps, restarts=config.restarts
    )
    weak = PGDConfig(
        eps=eps, step_size=max(2.5 * eps / config.train_steps, 1e-6), steps=config.train_steps, keep="last"
    )
    trained_on = {
        "standard": None,
        "FGSM": fgsm(FGSMConfig(eps=eps)),
        "RS-FGSM": rs_fgsm(RSFGSMConfig(eps=eps)),
        "PGD": pgd(weak),
    }
    attacks = {
        "clean": no_attack,
        "FGSM": fgsm(FGSMConfig(eps=eps)),
        "PGD": pgd(strong),
        "Square": square(SquareConfig(eps=eps, queries=config.queries)),
        "unbounded": validity.unbounded(strong),
    }

    def attacked(one: Any, shared: Any) -> dict[str, Any]:
        """All figures of one seed's network on its test images."""
        seed, state, rows = one
        x = jnp.asarray(shared["image"][rows], jnp.float32) / 255
        y = shared["label"][rows]

        def logits_fn(z: Any) -> Any:
            return net.apply(state.params, state.net_state, z)[0]

        key = jax.random.fold_in(jax.random.key(seed), 2)
        correct = {
            name: correct_under_attack(jax.random.fold_in(key, i), logits_fn, x, y, attack)
            for i, (name, attack) in enumerate(attacks.items())
        }
        path = validity.loss_by_step(jax.random.fold_in(key, 100), logits_fn, x, y, strong)
        return {name: jnp.mean(c, dtype=jnp.float32) for name, c in correct.items()} | {
            "loss drop": validity.largest_drop(path),
            "masking gap": validity.masking_gap(correct["PGD"], correct["Square"]),
            "zero gradients": validity.zero_gradient_fraction(logits_fn, x, y),
        }

    for defence in DEFENCES:
        name = arm(dataset, defence)
        fit = context.fit(
            lambda c, attack=trained_on[defence]: adversarial_training(net, c, attack),
            {
                name: AdversarialTrainingConfig(
                    learning_rate=setting.learning_rate, schedule="cosine", steps=steps
                )
            },
            steps=steps,
            data={k: v for k, v in train.items() if k != "rows"},
            per_seed={"rows": train["rows"]} if "rows" in train else None,
            sampler=minibatch(config.batch, rows="rows" if "rows" in train else None),
        )
        each = (np.asarray(context.seeds, np.uint32), fit.arm(name), test["rows"])
        shared = {"image": test["image"], "label": test["label"]}
        found = context.once(
            f"attacks on {name}", lambda each=each, shared=shared: context.over_seeds(attacked, each, shared)
        )
        failed = [context.seeds.index(f.seed) for f in fit.failures]
        for metric, values in found.items():
            # What a network that is not finite answers is no accuracy.
            values = np.asarray(values, np.float64)
            values[failed] = np.nan
            context.record(name, metric, values, step=steps)


def _load(dataset: str, seeds: Sequence[int], most: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Training and test arrays; "rows" [seeds, n] are the rows a seed uses, where the set has no split."""
    import numpy as np

    from lrn import data

    if dataset == "digits":
        whole = data.load("digits", "all")
        arrays = {"image": whole["image"], "label": whole["label"]}
        parts = [data.split(seed, whole.rows, (0.8, 0.2)) for seed in seeds]
        rows = [np.stack([part[i] for part in parts]) for i in (0, 1)]
        return {**arrays, "rows": rows[0]}, {**arrays, "rows": rows[1][:, :most]}
    train, test = data.load(dataset, "train"), data.load(dataset, "test")
    rows = np.tile(np.arange(min(most, test.rows)), (len(seeds), 1))  # the sets come shuffled
    return (
        {"image": train["image"], "label": train["label"]},
        {"image": test["image"], "label": test["label"], "rows": rows},
    )


def _net(name: str) -> Any:
    from lrn import nets

    if name == "mlp":
        return nets.mlp(10, (128, 128))
    if name == "cnn":
        return nets.cnn(10, hidden=(128,))
    return nets.resnet18(10)


def figure(table: Table, config: Config) -> Figure:
    """The matrix of training by attack, one a data set, with intervals over seeds."""
    import numpy as np

    from lrn import figures

    fig, axes = figures.subplots(1, len(config.datasets), squeeze=False)
    for ax, dataset in zip(axes[0], config.datasets):
        arms = [arm(dataset, defence) for defence in DEFENCES]
        values = np.stack([[table.final(a, attack) for attack in ATTACKS] for a in arms])
        masked = [[attack == "PGD" and _masked(table, a) for attack in ATTACKS] for a in arms]
        figures.matrix(
            ax, values, DEFENCES, ATTACKS, title=f"Accuracy on {dataset} under attack", xlabel="attacked by",
            ylabel="trained on", flagged=masked,
        )  # fmt: skip
    return fig


def _masked(table: Table, name: str) -> bool:
    """Whether Square beats PGD by more than noise on average."""
    return bool((table.final(name, "PGD") - table.final(name, "Square")).mean() > NOISE)


STUDY = Study(
    title="Does robustness to FGSM carry over to PGD, and back?",
    claim="A network made robust to FGSM stays vulnerable to PGD, and the other way round.",
    claim_id="O3",
    section="Observations",
    regime=(
        "quick: scikit-learn's 8x8 digits, a perceptron of two hidden layers of 128, Linf eps .2; "
        "full: Fashion-MNIST (small CNN, eps .1) and CIFAR-10 (ResNet-18, eps 8/255; JPEG images)."
    ),
    presets={
        "smoke": Config(optimiser_steps=20, steps=5, restarts=1, queries=20, test_images=50),
        "quick": Config(),
        "full": Config(datasets=("fashion_mnist", "cifar10"), queries=5000),
    },
    predictions=predictions,
    controls=controls,
    run=run,
    figure=figure,
    tour=True,
)

if __name__ == "__main__":
    from lrn.cli import main_study

    main_study(__file__)
