"""The docs: a page for every theorem, an anchor for every limit, up to date, every link and every snippet alive."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from linfair.theory import THEOREMS

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
KIND = {kind: [t.id for t in THEOREMS.values() if t.kind == kind] for kind in ("theorem", "limit")}
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
SNIPPETS = ("xu-gap", "easy-class-equaliser", "minimax-fair", "group-attack-equivalence", "targeted-two-classes")


def _render():
    spec = importlib.util.spec_from_file_location("render", DOCS / "render.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["render"] = module
    spec.loader.exec_module(module)
    return module


render = _render()


def section(text: str, heading: str) -> str:
    """What stands under a heading, up to the next heading or generated part."""
    return re.split(r"^(?:## |<!-- )", text.split(f"\n## {heading}\n", 1)[1], maxsplit=1, flags=re.M)[0].strip()


def anchors(path: Path) -> set[str]:
    text = path.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return slugs | set(re.findall(r'<a id="([^"]+)">', text))


def test_pages_are_up_to_date():
    stale = sorted(str(path.relative_to(ROOT)) for path in render.stale())
    assert not stale, "run `python docs/render.py`"
    assert render.orphans() == []


@pytest.mark.parametrize("theorem_id", KIND["theorem"])
def test_every_theorem_has_its_page(theorem_id):
    text = (DOCS / "theorems" / f"{theorem_id}.md").read_text(encoding="utf-8")
    assert len(section(text, "Why")) > 200
    assert len(section(text, "Read it")) > 100
    assert len(section(text, "Sources")) > 10
    assert f"linfair verify --only {theorem_id}\n" in text


@pytest.mark.parametrize("theorem_id", KIND["limit"])
def test_every_limit_has_its_anchor(theorem_id):
    text = (DOCS / "limits.md").read_text(encoding="utf-8")
    assert text.count(f'<a id="{theorem_id}"></a>') == 1
    by_hand = text.split(f"<!-- generated: {theorem_id} -->", 1)[1].split("<!-- end -->", 1)[1].split("<!-- ", 1)[0]
    why, where = by_hand.split("**Where it holds.**")
    assert len(why) > 150
    assert len(where) > 40


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_resolve(page):
    text = page.read_text(encoding="utf-8")
    for target in LINK.findall(re.sub(r"```.*?```", "", text, flags=re.S)):
        if re.match(r"https?://|mailto:", target):
            continue
        name, _, fragment = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        drawn_by = ROOT / "experiments" / f"{path.stem}.py"
        assert path.exists() or (path.parent == ROOT / "figures" and drawn_by.exists()), f"{target} leads nowhere"
        assert not fragment or fragment in anchors(path), f"{target} has no such anchor"


def test_every_figure_is_drawn_by_an_experiment():
    stems = {theorem.figure for theorem in THEOREMS.values()}
    missing = {
        s
        for s in stems
        if not (ROOT / "experiments" / f"{s}.py").exists() and not (ROOT / "figures" / f"{s}.png").exists()
    }
    assert missing == set()


@pytest.mark.parametrize("theorem_id", SNIPPETS)
def test_snippets_run(theorem_id, capsys):
    text = (DOCS / "theorems" / f"{theorem_id}.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"```python\n(.*?)```", text, re.S)
    exec(compile(snippet, theorem_id, "exec"), {})
    printed = capsys.readouterr().out
    for name in THEOREMS[theorem_id].analytic():
        assert name in printed


def test_hand_written_parts_survive():
    page = (
        "before\n<!-- generated: x -->\nold\n<!-- end -->\nby hand\n<!-- generated: gone -->\nold\n<!-- end -->\nafter"
    )
    assert render.fill(page, {"x": "new"}) == "before\n<!-- generated: x -->\nnew\n<!-- end -->\nby hand\n\nafter"
    empty = "<!-- generated: a -->\n<!-- end -->\nby hand\n<!-- generated: b -->\n<!-- end -->"
    filled = render.fill(empty, {"a": "1", "b": "2"})
    assert filled == "<!-- generated: a -->\n1\n<!-- end -->\nby hand\n<!-- generated: b -->\n2\n<!-- end -->"


@pytest.mark.parametrize(
    ("old", "new", "equal"),
    [
        ("| x | 0.123456 |", "| x | 0.123457 |", True),
        ("| x | 0.123456 |", "| x | 0.12347 |", False),
        ("| x | 2 |", "| x | 3 |", False),
        ("| x | -0.5 |", "| x | 0.5 |", False),
        ("eps < 0.5", "eps < 0.6", False),
    ],
)
def test_only_the_last_digit_of_a_value_may_differ(old, new, equal):
    assert render.same(old, new) == equal


@pytest.mark.parametrize(
    ("plain", "markdown"),
    [
        ("tau <= (K+1) Phi^-1(K/(K+1))", "τ ≤ (K+1) Φ<sup>-1</sup>(K/(K+1))"),
        ("||w||_* sigma_+^(1/2)", r"‖w‖<sub>\*</sub> σ<sub>+</sub><sup>1/2</sup>"),
        ("|D_rob| < eps_-", r"\|D<sub>rob</sub>\| &lt; ε<sub>-</sub>"),
        ("W_{-1} of lambda ~ l_inf", "W<sub>-1</sub> of λ ∼ ℓ∞"),
        ("the delta of a delta_j, deltas", "the δ of a δ<sub>j</sub>, deltas"),
    ],
)
def test_typesetting(plain, markdown):
    assert render.typeset(plain) == markdown
