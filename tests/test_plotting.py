"""Figures: same bytes twice, readable, distinct without colour vision."""

import itertools

import numpy as np
import pytest

from linfair import plotting


def figure():
    with plotting.style():
        fig, axes = plotting.subplots(1, 2, width=plotting.TEXT_WIDTH)
        x = np.linspace(0, 1, 9)
        axes[0].plot(x, x**2, color=plotting.COLOR["analytic"], label=r"$R_{+}(\lambda)$")
        plotting.with_errors(axes[0], x, x**2, 0.02 + 0 * x, label="empirical")
        axes[0].legend()
        axes[1].plot(x, -x)
        for ax, text in zip(axes, "ab", strict=True):
            plotting.letter(ax, text)
    return fig


@pytest.mark.parametrize("kind", ["pdf", "png", "svg"])
def test_same_figure_same_bytes(tmp_path, kind):
    (one,) = plotting.save(figure(), tmp_path / "one", [kind])
    (two,) = plotting.save(figure(), tmp_path / "two", [kind])
    assert one.read_bytes() == two.read_bytes()
    assert len(one.read_bytes()) > 1000


def test_saving_twice_from_one_figure_gives_the_same_bytes(tmp_path):
    fig = figure()
    first = [p.read_bytes() for p in plotting.save(fig, tmp_path / "x")]
    assert first == [p.read_bytes() for p in plotting.save(fig, tmp_path / "x")]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.pdf", "x.png"]


def test_no_dates_and_embedded_truetype_fonts(tmp_path):
    (pdf,) = plotting.save(figure(), tmp_path / "x", ["pdf"])
    assert b"CreationDate" not in pdf.read_bytes()
    assert b"/Type3" not in pdf.read_bytes()


def test_a_stem_may_hold_a_dot(tmp_path):
    (path,) = plotting.save(figure(), tmp_path / "eps0.1", ["png"])
    assert path.name == "eps0.1.png"


def test_unknown_format_is_one_line(tmp_path):
    with pytest.raises(ValueError, match=r"formats must be among pdf, png, svg, got 'gif'; pass one of these"):
        plotting.save(figure(), tmp_path / "x", ["gif"])
    assert list(tmp_path.iterdir()) == []


def test_a_failed_save_leaves_nothing(tmp_path, monkeypatch):
    fig = figure()
    monkeypatch.setattr(fig, "savefig", lambda path, **_: path.write_text("half") and 1 / 0)
    with pytest.raises(ZeroDivisionError):
        plotting.save(fig, tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_text_is_at_least_seven_points_at_its_printed_width():
    fig = figure()
    assert fig.get_figwidth() == plotting.TEXT_WIDTH
    sizes = [text.get_fontsize() for ax in fig.axes for text in [ax.xaxis.label, *ax.get_xticklabels(), ax.title]]
    assert min(map(float, sizes)) >= 7


def test_error_bars_are_two_standard_errors():
    _, ax = plotting.subplots()
    bars = plotting.with_errors(ax, [0.0], [1.0], [0.1])
    (segment,) = bars.lines[2][0].get_segments()
    assert segment[:, 1] == pytest.approx([0.8, 1.2])


def test_the_classes_and_methods_have_distinct_colours():
    names = ("minus", "plus", "natural", "robust", "mixup", "minimax")
    assert all(plotting.COLOR[a] != plotting.COLOR[b] for a, b in itertools.combinations(names, 2))


def test_the_style_does_not_leak():
    import matplotlib as mpl

    before = mpl.rcParams["font.size"]
    with plotting.style():
        assert mpl.rcParams["font.size"] == 7.5
    assert mpl.rcParams["font.size"] == before
