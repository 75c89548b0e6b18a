"""The registry of training methods: complete entries, documented options, refusals of bad ones."""

from dataclasses import fields
from pathlib import Path

import pytest

from linfair.train.methods import METHODS, get_method

DOCS = Path(__file__).resolve().parents[1] / "docs" / "methods.md"


@pytest.mark.parametrize("name", METHODS)
def test_registry_entry_is_complete(name):
    method = METHODS[name]
    assert method.name == name
    assert method.parent == "" or method.parent in METHODS
    assert set(method.RELEASE) <= {f.name for f in fields(method)}
    assert method.__doc__
    assert not (method.on_validation and method().shared_epochs(12)), "its sums are in no checkpoint"
    assert get_method(name) == method()


def shown(value):
    if isinstance(value, tuple):
        return ", ".join(map(shown, value)) or "none"
    return str(value) if isinstance(value, str | bool) else f"{value:g}"


def table(header):
    """The cells of the rows below a header of docs/methods.md."""
    lines = DOCS.read_text(encoding="utf-8").split(header + "\n", 1)[1].splitlines()[1:]
    rows = lines[: lines.index("")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_docs_list_every_method_with_its_options():
    parents = [[f"`{name}`", f"`{method.parent}`" if method.parent else ""] for name, method in METHODS.items()]
    assert [row[:2] for row in table("| method | parent | measures | steers |")] == parents
    assert table("| method | option | ours | release |") == [
        [f"`{name}`", f"`{field.name}`", shown(field.default), shown(method.RELEASE.get(field.name, "–"))]
        for name, method in METHODS.items()
        for field in fields(method)
    ]


@pytest.mark.parametrize(
    "name, options, error, message",
    [
        ("pgd", {}, ValueError, r"method must be one of standard, pgd_at, .*, got 'pgd'"),
        ("trades", {"gamma": 1.0}, ValueError, r"options of trades must be among beta, got 'gamma'"),
        ("standard", {"beta": 1.0}, ValueError, r"options of standard must be among none"),
        ("trades", {"beta": "6"}, TypeError, r"beta must be of type float, got '6'"),
        ("trades", {"beta": -1.0}, ValueError, r"beta must be >= 0"),
        ("domain_mixup_robust", {"lam": 1.5}, ValueError, r"lam must lie in \[0, 1\]"),
        ("domain_mixup_robust", {"lam_by_class": (0.5, 1.5)}, ValueError, r"lam_by_class must lie in \[0, 1\]"),
        ("domain_mixup_robust", {"lam_by_class": 0.5}, TypeError, r"lam_by_class must be of type tuple"),
        ("domain_mixup_beta", {"a": 0.0}, ValueError, r"a must be > 0"),
        ("domain_mixup_mway", {"m": 0}, ValueError, r"m must be at least 1"),
        ("domain_mixup_easy", {"lam": 2.0}, ValueError, r"lam must lie in"),
        ("domain_mixup_hard", {"warmup": -0.1}, ValueError, r"warmup must lie in"),
        ("dafa_trades", {"apply": "margin"}, ValueError, r"apply must be one of both, weights, margins, got 'margin'"),
        ("dafa_trades", {"beta": -6.0}, ValueError, r"beta must be >= 0"),
        ("dafa_pgd", {"strength": -1.0}, ValueError, r"strength must be >= 0"),
        ("dafa_pgd", {"warmup": 2.0}, ValueError, r"warmup must lie in"),
        ("cfa_pgd", {"base": -1.0}, ValueError, r"base must be >= 0"),
        ("cfa_trades", {"base_kl": -1.0}, ValueError, r"base_kl must be >= 0"),
        ("wat", {"rate": -0.1}, ValueError, r"rate must be >= 0"),
        ("faal", {"release": 1}, TypeError, r"release must be of type bool, got 1; pass False"),
        ("trades", {"beta": True}, TypeError, r"beta must be of type float, got True"),
        ("faal", {"radius": -0.5}, ValueError, r"radius must be >= 0"),
        ("faal", {"warmup": 1.5}, ValueError, r"warmup must lie in"),
        ("fair_tat", {"inner": "both"}, ValueError, r"inner must be one of targeted, untargeted, got 'both'"),
        ("fair_tat", {"base": -1.0}, ValueError, r"base must be >= 0"),
        ("ard", {"alpha": 2.0}, ValueError, r"alpha must lie in"),
        ("ard", {"temperature": 0.0}, ValueError, r"temperature must be > 0"),
        ("absld", {"adversarial": 2.0}, ValueError, r"adversarial must lie in"),
        ("absld", {"low": 2.0}, ValueError, r"low and high must enclose 1, got 2.0 and 5.0"),
    ],
)
def test_bad_options(name, options, error, message):
    with pytest.raises(error, match=message):
        get_method(name, **options)
