"""Figures: their look, their bytes, and the numbers in them."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from scipy import stats as scipy_stats

from lrn import check, figures

VALUES = 0.5 + 0.1 * np.random.RandomState(0).randn(2, 3, 10)
STEPS = np.arange(0, 100, 10)


def draw_everything() -> Figure:
    rng = np.random.RandomState(0)
    fig, axes = figures.subplots(1, 3, width=12)
    figures.matrix(axes[0], VALUES, ["a", "b"], ["x", "y", "z"], title="matrix")
    figures.curves(axes[1], STEPS, {"a": rng.rand(5, 10), "b": rng.rand(5, 10)}, ylabel="loss")
    figures.intervals(axes[2], ["a", "b"], [(0.1, 0.0, 0.2), (0.3, 0.2, 0.4)], regions=[(0.05, np.inf), None])
    return fig


def interval(values: np.ndarray) -> tuple[float, float]:
    return scipy_stats.t.interval(0.95, len(values) - 1, values.mean(), scipy_stats.sem(values))


# Style


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_style_is_in_force_inside_only(theme):
    before = dict(mpl.rcParams)
    with figures.style(theme) as t:
        assert mpl.rcParams["figure.facecolor"] == t.background == figures.THEMES[theme].background
        fig, ax = figures.subplots()
        assert to_hex(fig.get_facecolor()) == t.background
        assert to_hex(ax.plot([0, 1])[0].get_color()) == t.cycle[0]
    assert dict(mpl.rcParams) == before
    with pytest.raises(ZeroDivisionError), figures.style(theme):
        raise ZeroDivisionError
    assert dict(mpl.rcParams) == before


def test_an_unknown_theme():
    with pytest.raises(check.InputError, match="did you mean dark"), figures.style("drak"):  # pyright: ignore
        pass


# Machado, Oliveira & Fernandes (2009), severity 1, on linear RGB.
VISION = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}


def linear(color: str) -> np.ndarray:
    rgb = np.array(to_rgb(color))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of linear sRGB under D65."""
    to_xyz = [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
    xyz = np.array(to_xyz) @ np.clip(rgb, 0, 1) / [0.95047, 1, 1.08883]
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def contrast(one: str, other: str) -> float:
    low, high = sorted(float(linear(c) @ [0.2126, 0.7152, 0.0722]) for c in (one, other))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", figures.THEMES)
@pytest.mark.parametrize("vision", VISION)
def test_colors_can_be_told_apart_by_everybody(theme, vision):
    seen = [lab(VISION[vision] @ linear(c)) for c in figures.THEMES[theme].cycle]
    # 2.3 is just noticeable; matplotlib's own cycle falls to 5 here.
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 25


@pytest.mark.parametrize("theme", figures.THEMES)
def test_colors_stand_out_from_the_background(theme):
    t = figures.THEMES[theme]
    assert all(contrast(c, t.background) >= 3 for c in t.cycle)
    assert contrast(t.text, t.background) >= 7
    assert contrast(t.muted, t.background) >= 4.5


# Saving


def test_save_writes_the_same_bytes_every_time_for_everybody(tmp_path):
    first = figures.save(draw_everything, tmp_path / "a")
    assert [p.name for p in first] == ["figure.png", "figure.svg", "figure-dark.png"]
    assert first[0].read_bytes() != first[2].read_bytes()
    with mpl.rc_context({"font.size": 30, "lines.linewidth": 9, "savefig.dpi": 30, "svg.hashsalt": None}):
        second = figures.save(draw_everything, tmp_path / "b")
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
    assert b"Software" not in first[0].read_bytes()  # nor does a new version of matplotlib change them
    svg = first[1].read_text()
    assert "<dc:date>" not in svg
    assert "<text" not in svg  # glyphs are paths: the same on a machine without the font


def test_save_in_a_fresh_process_without_display_or_pyplot(tmp_path):
    script = (
        "import sys; from pathlib import Path; import test_figures as t\n"
        "t.figures.save(t.draw_everything, Path(sys.argv[1]))\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    environment = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "MPLBACKEND")}
    subprocess.run(
        [sys.executable, "-W", "error", "-c", script, str(tmp_path / "a")],
        env=environment | {"PYTHONPATH": os.path.dirname(__file__), "PYTHONHASHSEED": "7"},
        check=True,
        timeout=120,
    )
    for path in figures.save(draw_everything, tmp_path / "b"):
        assert (tmp_path / "a" / path.name).read_bytes() == path.read_bytes()


def test_a_figure_that_fails_writes_nothing(tmp_path):
    calls = []

    def second_fails():
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("dark")
        return draw_everything()

    with pytest.raises(RuntimeError, match="dark"):
        figures.save(second_fails, tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="must return a matplotlib Figure, got NoneType"):
        figures.save(lambda: None, tmp_path)  # pyright: ignore
    assert list(tmp_path.iterdir()) == []


def test_figures_made_through_pyplot_are_closed(tmp_path):
    from matplotlib import pyplot

    before = pyplot.get_fignums()
    figures.save(lambda: pyplot.subplots()[0], tmp_path)
    assert pyplot.get_fignums() == before


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"rows": 0}, "rows must be at least 1"),
        ({"columns": 1.5}, "columns"),
        ({"width": 0}, "width must be"),
    ],
)
def test_subplots_that_cannot_be(options, sentence):
    with pytest.raises(check.InputError, match=sentence):
        figures.subplots(**options)


# Matrix


def labels(ax) -> list[str]:
    return [t.get_text() for t in ax.texts]


def test_matrix_says_mean_and_t_interval_of_each_cell():
    _, ax = figures.subplots()
    figures.matrix(ax, VALUES, ["a", "b"], ["x", "y", "z"], digits=3)
    expected = []
    for cell in VALUES.reshape(-1, 10):
        low, high = interval(cell)
        assert (low + high) / 2 == pytest.approx(cell.mean())
        expected += [f"{cell.mean():.3f}", f"±{(high - low) / 2:.3f}"]
    assert labels(ax) == expected
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "b"]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["x", "y", "z"]
    assert ax.get_ylim() == (1.5, -0.5)  # rows from the top


def test_matrix_shades_by_value_and_stays_readable():
    for theme in ("light", "dark"):
        with figures.style(theme):
            _, ax = figures.subplots()
            figures.matrix(ax, np.linspace(0, 1, 11)[None], [""], [""] * 11)
            faces = [p.get_facecolor() for p in ax.patches]
            away = [contrast(to_hex(f), figures.THEMES[theme].background) for f in faces]
            assert away == sorted(away)
            for face, label in zip(faces, ax.texts):
                assert contrast(to_hex(face), to_hex(label.get_color())) >= 4.5


def test_matrix_marks_flags_and_leaves_out_failed_seeds():
    values = VALUES.copy()
    values[0, 1] = np.nan
    values[1, 2, 0] = np.nan
    flagged = np.zeros((2, 3), bool)
    flagged[0, 0] = True
    _, ax = figures.subplots()
    figures.matrix(ax, values, ["a", "b"], ["x", "y", "z"], flagged=flagged)
    said = labels(ax)
    assert said[0] == f"{values[0, 0].mean():.2f}†"
    assert said[-2] == f"{values[1, 2, 1:].mean():.2f}"
    assert len(said) == 10  # the empty cell has no number
    assert [p.get_hatch() for p in ax.patches].count("////") == 1
    _, ax = figures.subplots()
    figures.matrix(ax, VALUES[..., :1], ["a", "b"], ["x", "y", "z"])
    assert len(labels(ax)) == 6  # one seed has no interval


def test_matrix_knows_no_negative_zero():
    _, ax = figures.subplots()
    figures.matrix(ax, [[[0.0, 0.001, -0.002]]], ["a"], ["x"])
    assert labels(ax) == ["0.00", "±0.004"]  # as many decimals as the margin needs


def test_matrix_shows_each_seed_where_its_value_is():
    values = VALUES.copy()
    values[0, 0, 3] = np.nan
    _, ax = figures.subplots(height=4)
    figures.matrix(ax, values, ["a", "b"], ["x", "y", "z"], vmin=0.2, vmax=0.8)
    strips = [line for line in ax.lines if line.get_marker() == "o"]
    assert len(strips) == 6
    for (i, j), strip in zip(np.ndindex(2, 3), strips):
        cell = values[i, j][np.isfinite(values[i, j])]
        expected = j - 0.42 + 0.84 * np.clip((cell - 0.2) / 0.6, 0, 1)
        np.testing.assert_allclose(strip.get_xdata(), expected)
        assert np.all((i < np.asarray(strip.get_ydata())) & (np.asarray(strip.get_ydata()) < i + 0.48))
    _, low = figures.subplots(height=1.6)
    figures.matrix(low, values, ["a", "b"], ["x", "y", "z"])
    assert not low.lines  # no room


def test_long_names_of_columns_are_broken_between_words():
    fig, ax = figures.subplots(width=3.2)
    figures.matrix(ax, np.ones((1, 3)), ["a"], ["PGD at 1.5 eps", "PGD in the L2 norm", "unbreakable"])
    shown = [t.get_text() for t in ax.get_xticklabels()]
    assert [t.replace("\n", " ") for t in shown] == ["PGD at 1.5 eps", "PGD in the L2 norm", "unbreakable"]
    assert all("\n" in t for t in shown[:2])
    fig.draw_without_rendering()
    boxes = [t.get_window_extent() for t in ax.get_xticklabels()]
    assert all(one.x1 < other.x0 for one, other in itertools.pairwise(boxes))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"values": VALUES[:1]}, r"shape \[2, 3\] or \[2, 3, seeds\]"),
        ({"values": VALUES[..., :0]}, "got"),
        ({"values": 1.0}, "got"),
        ({"vmin": 1.0}, "vmin must be below vmax"),
        ({"flagged": [True]}, "one bool for each cell"),
    ],
)
def test_matrix_of_bad_input(change, sentence):
    _, ax = figures.subplots()
    options = {"values": VALUES, "rows": ["a", "b"], "columns": ["x", "y", "z"], **change}
    with pytest.raises(ValueError, match=sentence):
        figures.matrix(ax, **options)


# Curves


def test_curves_draw_mean_and_band():
    arms = {"a": VALUES[0].T, "b": VALUES[1].T}  # [10 seeds, 3 points]
    _, ax = figures.subplots()
    figures.curves(ax, [0, 5, 9], arms, ylabel="accuracy")
    bands = [c for c in ax.collections if isinstance(c, PolyCollection)]
    for line, band, (name, values) in zip(ax.lines, bands, arms.items()):
        assert line.get_label() == name
        np.testing.assert_allclose(line.get_ydata(), values.mean(0))
        (seeds,) = [c for c in ax.collections if isinstance(c, LineCollection)
                    and np.allclose(np.asarray(c.get_colors())[0, :3], to_rgb(line.get_color()))]  # fmt: skip
        drawn = np.array([segment[:, 1] for segment in seeds.get_segments()])
        np.testing.assert_allclose(drawn, np.unique(values, axis=0))
        vertices = band.get_paths()[0].vertices
        for step, column in zip([0, 5, 9], values.T):
            at = np.asarray(vertices)[np.asarray(vertices)[:, 0] == step][:, 1]
            np.testing.assert_allclose([at.min(), at.max()], interval(column))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("step", "accuracy")
    # Color is not the only difference.
    looks = [(str(line.get_linestyle()), line.get_marker()) for line in ax.lines]
    assert len(set(looks)) == 2


def test_curves_say_which_seeds_died():
    values = VALUES[0].T.copy()
    values[:2, 1:] = np.nan
    _, ax = figures.subplots()
    figures.curves(ax, [0, 5, 9], {"a": values})
    assert ax.get_legend().get_texts()[0].get_text() == "a (8 of 10 seeds at the end)"
    np.testing.assert_allclose(ax.lines[0].get_ydata(), np.nanmean(values, 0))


def test_what_reaches_the_limit_is_no_value():
    values = np.array([[1.0, 4.0, 9.0], [2.0, 5.0, 9.0], [3.0, np.inf, 9.0], [3.0, 6.0, 9.0], [1, 2, 9.0]])
    values = np.tile(values, (2, 1))
    _, ax = figures.subplots()
    figures.curves(ax, [0, 1, 2], {"a": values}, ylabel="episodes", limit=[9, 8, 9], limit_name="9 episodes")
    triangles, line = ax.lines
    np.testing.assert_allclose(triangles.get_xdata(), [1, 2])
    np.testing.assert_allclose(triangles.get_ydata(), [8, 9])
    assert (triangles.get_marker(), triangles.get_markerfacecolor()) == ("^", "none")
    np.testing.assert_allclose(line.get_ydata(), [2.0, 5.0, np.nan])  # the median, where it is known
    assert ax.get_ylabel() == "episodes, median"
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["a", "not within 9 episodes"]
    (seeds,) = [c for c in ax.collections if isinstance(c, LineCollection)]
    assert max(np.nanmax(s[:, 1]) for s in seeds.get_segments()) == 6.0
    _, ax = figures.subplots()
    figures.curves(ax, [0, 1, 2], {"a": values}, limit=1e6)
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["a", "not within 1e+06"]
    _, ax = figures.subplots()
    figures.curves(ax, [0, 1], {"a": [[1.0, 2.0], [1.0, 3.0]]}, limit=10)
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["a"]  # none reached it


def test_an_even_number_of_seeds_has_no_median_where_one_of_the_middle_two_reached_the_limit():
    _, ax = figures.subplots()
    figures.curves(ax, [0], {"a": [[1.0], [2.0], [9.0], [9.0]]}, limit=9)
    assert np.isnan(ax.lines[-1].get_ydata()).all()


def test_an_arm_looks_the_same_in_all_axes_of_a_figure():
    arms = dict.fromkeys("abcdefgh", VALUES[0].T)
    _, axes = figures.subplots(1, 2)
    figures.curves(axes[0], [0, 5, 9], arms)
    figures.curves(axes[1], [0, 5, 9], dict(reversed(arms.items())))
    looks = [
        {line.get_label(): (line.get_color(), line.get_linestyle(), line.get_marker()) for line in ax.lines}
        for ax in axes
    ]
    assert looks[0] == looks[1]
    assert len(set(looks[0].values())) == len(arms)  # more arms than colors
    look = figures.arm_style(axes[0], "c")
    assert (look.color, look.marker) == (looks[0]["c"][0], looks[0]["c"][2])
    _, other = figures.subplots()
    assert figures.arm_style(other, "c") == figures.arm_style(axes[0], "a")  # each figure begins anew


@pytest.mark.parametrize("names", [("a", "b"), ("a rather long name", "and another one", "c", "d", "e")])
def test_a_legend_hides_no_point_and_no_title(names):
    with figures.style():
        fig, ax = figures.subplots(width=3.6)
        figures.curves(ax, [0, 5, 9], dict.fromkeys(names, VALUES[0].T), ylabel="loss")
        ax.set_title("Title")
        figures.finish(fig)
        fig.draw_without_rendering()
    legend, axes = ax.get_legend().get_window_extent(), ax.get_window_extent()
    assert legend.y0 >= axes.y1
    assert legend.x1 <= fig.bbox.x1
    title = next(text for text in ax.get_children() if getattr(text, "get_text", str)() == "Title")
    assert title.get_window_extent().y0 >= legend.y1


def test_a_legend_that_a_study_draws_is_moved_out_of_the_axes_unless_it_has_an_anchor():
    with figures.style():
        fig, axes = figures.subplots(1, 2)
        for ax in axes:
            ax.plot([0, 1], "C2--", label="a")
            ax.plot([1, 0], label="b")
            ax.set_title("Title")
        axes[0].legend(loc="upper right")
        axes[1].legend(bbox_to_anchor=(1, 1))
        figures.finish(fig)
        fig.draw_without_rendering()
    moved, kept = (ax.get_legend() for ax in axes)
    assert moved.get_window_extent().y0 >= axes[0].get_window_extent().y1
    assert [t.get_text() for t in moved.get_texts()] == ["a", "b"]
    assert [line.get_linestyle() for line in moved.get_lines()] == ["--", "-"]
    assert [line.get_color() for line in moved.get_lines()] == [line.get_color() for line in axes[0].lines]
    assert kept.get_window_extent().y0 < axes[1].get_window_extent().y1


def test_a_log_scale_is_named_where_it_is_not(tmp_path):
    def draw() -> Figure:
        fig, axes = figures.subplots(1, 3)
        for ax, label in zip(axes, ("loss", "log of the loss", "loss")):
            ax.plot([1, 10])
            ax.set_ylabel(label)
        axes[0].set_yscale("log")
        axes[1].set_yscale("log")
        drawn.append(axes)
        return fig

    drawn: list = []
    figures.save(draw, tmp_path)
    assert [ax.get_ylabel() for ax in drawn[0]] == ["loss (log scale)", "log of the loss", "loss"]


@pytest.mark.parametrize("limit", [[1, 2], np.inf, np.nan])
def test_a_limit_that_does_not_fit_the_steps(limit):
    _, ax = figures.subplots()
    with pytest.raises(ValueError, match="limit must be one finite number"):
        figures.curves(ax, [0, 5, 9], {"a": VALUES[0].T}, limit=limit)


@pytest.mark.parametrize(
    ("arms", "sentence"),
    [
        ({}, "at least one arm"),
        ({"a": np.zeros((2, 4))}, r"'a' must have values of shape \[seeds, 3\]"),
        ({"a": [1, 2, 3]}, "one row a seed"),
    ],
)
def test_curves_of_bad_input(arms, sentence):
    _, ax = figures.subplots()
    with pytest.raises(ValueError, match=sentence):
        figures.curves(ax, [0, 5, 9], arms)


# Intervals


def test_intervals_show_estimates_regions_and_outcomes():
    rows = [(0.5, 0.4, 0.6), (0.0, -0.1, 0.1), (-0.2, -0.3, -0.1)]
    _, ax = figures.subplots()
    figures.intervals(
        ax,
        ["a", "b", "c"],
        rows,
        regions=[(0.1, np.inf), (-0.05, 0.05), None],
        outcomes=["supported", "inconclusive", "refuted"],
        points=[[0.45, 0.55]] * 3,
        xlabel="difference",
    )
    bars = [tuple(line.get_xdata()) for line in ax.lines if line.get_linewidth() == 2.2]
    assert bars == [(low, high) for _, low, high in rows]
    left, right = ax.get_xlim()
    spans = [c.get_datalim(ax.transData) for c in ax.collections]
    assert [(s.x0, s.x1) for s in spans] == [pytest.approx((0.1, right)), pytest.approx((-0.05, 0.05))]
    assert left < -0.3
    assert right < 0.7  # an open region does not stretch the axis
    markers = [line.get_marker() for line in ax.lines if len(line.get_xdata()) == 1]
    assert markers == ["o", "D", "X"]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["supported", "inconclusive", "refuted"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"labels": [], "estimates": []}, "at least one row"),
        ({"estimates": []}, "estimates must have 1 rows"),
        ({"outcomes": ["supported", "refuted"]}, "outcomes must have 1 rows"),
        ({"outcomes": ["suported"]}, "did you mean supported"),
        ({"estimates": [(0, 1, -1)]}, "low 1 above high -1"),
    ],
)
def test_intervals_of_bad_input(change, sentence):
    _, ax = figures.subplots()
    with pytest.raises(ValueError, match=sentence):
        figures.intervals(ax, **{"labels": ["a"], "estimates": [(0, -1, 1)], **change})
