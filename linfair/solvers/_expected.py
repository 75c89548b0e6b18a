"""The expected logistic loss of a normal margin with its derivatives, and the least sum of two of them.

Well separated classes have losses that underflow, so each is its logarithm, and derivatives are relative to it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import erfcx, expit, log_ndtr, roots_hermitenorm, roots_legendre

from linfair._numeric import find_root

HALF_LOG_TAU = np.log(2.0 * np.pi) / 2.0


class Expected(NamedTuple):
    """Of the logistic loss l at a margin ``m ~ N(mean, sd^2)``, with L = E l(m)."""

    log: float
    """``log L``."""
    slope: float
    """``E l'(m) / L``."""
    reach: float
    """``E m l'(m) / L``."""
    bend: float
    """``E l''(m) / L``."""
    spread: tuple[float, float]
    """``E (m - mean)^k l''(m) / L`` for k = 1, 2."""
    turn: float
    """``E l'(m) - l'(0)``, which keeps its digits at a margin near 0."""


def hazard(t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The normal hazard ``phi(t) / Phi(-t)`` and its excess over t, each without cancellation."""
    value = np.sqrt(2.0 / np.pi) / erfcx(np.minimum(t, 20.0) / np.sqrt(2.0))
    if np.max(t) <= 20.0:
        return value, value - t
    tail = t
    for k in range(6, 0, -1):  # 1 / (t + 2 / (t + 3 / (t + ...)))
        tail = t + (k + 1) / tail
    return np.where(t > 20.0, t + 1.0 / tail, value), np.where(t > 20.0, 1.0 / tail, value - t)


def _tail(z: float) -> tuple[float, float]:
    """``log Phi(-z)`` and ``E max(0, x - z) / Phi(-z)`` for x ~ N(0, 1)."""
    return float(log_ndtr(-z)), float(hazard(np.asarray(z))[1])


def _exponential(mean: float, sd: float) -> Expected:
    """Far out the loss is exp(-m)."""
    log, tilted = -mean + sd * sd / 2.0, mean - sd * sd
    return Expected(log, -1.0, -tilted, 1.0, (-sd * sd, sd * sd + sd**4), 0.5)


def expected_logistic(mean: float, sd: float) -> Expected:
    """The five numbers at one mean and sd > 0."""
    if mean < 0.0:  # l(m) = l(-m) - m
        other = expected_logistic(-mean, sd)
        value = np.exp(other.log) - mean
        share = float(np.exp(other.log - np.log(value)))
        slope, reach = -1.0 / value - share * other.slope, share * other.reach - mean / value
        first, second = (share * x for x in other.spread)
        return Expected(float(np.log(value)), slope, reach, share * other.bend, (-first, second), -other.turn)
    if sd < 1.0:
        return _exponential(mean, sd) if mean > 50.0 else _narrow_logistic(mean, sd)
    return _wide_logistic(mean, sd)


_X, _X_WEIGHT = roots_hermitenorm(120)
_X_WEIGHT = _X_WEIGHT / _X_WEIGHT.sum()


def _narrow_logistic(mean: float, sd: float) -> Expected:
    """Gauss-Hermite."""
    m = mean + sd * _X
    value = _X_WEIGHT * np.logaddexp(0.0, -m)
    miss, bend = _X_WEIGHT * expit(-m), _X_WEIGHT * expit(m) * expit(-m)
    total = float(value.sum())
    spread = (float(bend @ _X) * sd / total, float(bend @ _X**2) * sd * sd / total)
    turn = float(_X_WEIGHT @ np.tanh(m / 2.0)) / 2.0
    slope, reach = -float(miss.sum()) / total, -float(miss @ m) / total
    return Expected(float(np.log(total)), slope, reach, float(bend.sum()) / total, spread, turn)


_T, _T_WEIGHT = roots_legendre(400)
_T, _T_WEIGHT = 20.0 * (_T + 1.0), 20.0 * _T_WEIGHT
_E = np.exp(-_T)
_FAR = np.where(_E < 1e-3, -0.5 + _E / 3.0 - _E**2 / 4.0 + _E**3 / 5.0, (np.log1p(_E) - _E) / _E**2)
_AHEAD = _T_WEIGHT * np.array([_FAR, -1.0 / (1.0 + _E), -(2.0 + _E) / (1.0 + _E) ** 2])
"""What ``l, -l', l''`` at m = t > 0 leave of exp(-t), over exp(-2 t)."""
_BEHIND = _T_WEIGHT * np.array([np.log1p(_E), _E / (1.0 + _E), _E / (1.0 + _E) ** 2])
"""``l(-t) - t, 1 + l'(-t), l''(-t)``."""


def _wide_logistic(mean: float, sd: float) -> Expected:
    """``max(0, -m)``, and ``exp(-m)`` for m > 0, in closed form; the rest by Gauss-Legendre over its own width."""
    z, k = mean / sd, sd - mean / sd
    (log_miss, behind), (log_tilt, ahead) = _tail(z), _tail(k)
    base = -z * z / 2.0 - HALF_LOG_TAU
    log_tilt = base - float(np.log(hazard(np.asarray(k))[0])) if k > -10.0 else log_tilt - mean + sd * sd / 2.0
    top = max(log_miss, log_tilt)
    miss, tilt = np.exp(log_miss - top), np.exp(log_tilt - top)
    bell, drift = base - np.log(sd) - top - (_T / sd) ** 2 / 2.0, _T * (mean / sd**2)
    plus, minus = _AHEAD * np.exp(bell + drift - 2.0 * _T), _BEHIND * np.exp(bell - drift)
    square = 2.0 / k**2 if k > 1e3 else 1.0 - k * ahead
    value = miss * sd * behind + tilt + (plus[0] + minus[0]).sum()
    slope = -(miss + tilt + (plus[1] - minus[1]).sum())
    reach = miss * sd * behind - tilt * sd * ahead - _T @ (plus[1] + minus[1])
    zero, one, two = (
        float((tilt + (plus[2] + minus[2]).sum()) / value),
        float((tilt * sd * ahead + _T @ (plus[2] - minus[2])) / value),
        float((tilt * sd * sd * square + _T**2 @ (plus[2] + minus[2])) / value),
    )
    spread = (one - mean * zero, two - 2.0 * mean * one + mean * mean * zero)
    turn = 0.5 + float(slope * np.exp(top))
    return Expected(float(np.log(value) + top), float(slope / value), float(reach / value), zero, spread, turn)


EASY = -2.0
"""Below this log of the loss the classes are well separated."""


class TwoClasses:
    """``log(L_- + r L_+)`` at x = (s, u): margins of means ``s u, s (tau - u)`` and sds ``s a, s k``.

    The sum is convex in (s, s u). Newton's steps are (ds / s at fixed s u, d(s u)).
    """

    def __init__(self, tau: float, r: float, a: float, k: float) -> None:
        self.tau, self.r = tau, r
        self.roots = a, k

    def terms(self, s: float, u: float) -> tuple[float, Expected, Expected]:
        """Value, class -, class +."""
        minus = expected_logistic(s * u, s * self.roots[0])
        plus = expected_logistic(s * (self.tau - u), s * self.roots[1])
        return float(np.logaddexp(minus.log, np.log(self.r) + plus.log)), minus, plus

    def derivatives(
        self, s: float, u: float, value: float, minus: Expected, plus: Expected
    ) -> tuple[np.ndarray, np.ndarray]:
        """Gradient and Hessian of the sum, over its value."""
        p, q = np.exp(minus.log - value), self.r * np.exp(plus.log - value)
        a0, b0 = minus.bend, plus.bend
        far = s * self.tau  # the mean of class + moves with s, that of class - does not
        (a1, a2), (b1, b2) = minus.spread, plus.spread
        across, cross = p * a0 + q * b0, p * a1 - q * (b1 + far * b0)
        bend = p * a2 + q * (b2 + 2.0 * far * b1 + far * far * b0)
        change = minus.turn - self.r * plus.turn - 0.5 * (1.0 - self.r)
        wider = s * s * (p * a0 * self.roots[0] ** 2 + q * b0 * self.roots[1] ** 2)
        gradient = np.array([wider + q * plus.slope * far, change * np.exp(-value)])
        return gradient, np.array([[bend, cross], [cross, across]])

    def minimum(self, starts: list[tuple[float, float]]) -> tuple[float, float]:
        """(s, u), from the best of the starts."""
        with np.errstate(all="ignore"):  # a step may try anything
            values = [self.terms(*x)[0] for x in starts]
            best = int(np.nanargmin(values))
            return (self._nested if values[best] <= EASY else self._newton)(*starts[best])

    def _nested(self, s: float, u: float) -> tuple[float, float]:
        """A root over log s, of the slope at the best u: smooth however steep the losses are."""
        known: dict[float, tuple[float, float]] = {}

        def slope(log_s: float) -> float:
            start = min(known.items(), key=lambda item: abs(item[0] - log_s))[1][1] if known else u
            known[log_s] = out = self._balance(float(np.exp(log_s)), start)
            return out[0]

        low = high = float(np.log(s))
        step = 0.05
        rising = slope(low) > 0.0
        while (slope(low if rising else high) > 0.0) == rising and step < 100.0:
            low, high = (low - step, low) if rising else (high, high + step)
            step *= 2.0
        root = find_root(slope, low, high)
        return float(np.exp(root)), self._balance(float(np.exp(root)), known[root][1] if root in known else u)[1]

    def _balance(self, s: float, u: float) -> tuple[float, float]:
        """``sum_y E m l'(m) / E |l'(m)|``, of the sign of the slope in s, at the u with ``E_- l' = r E_+ l'``."""
        low, high = -np.inf, np.inf
        for _ in range(100):
            _, minus, plus = self.terms(s, u)
            excess = minus.log + np.log(-minus.slope) - np.log(self.r) - plus.log - np.log(-plus.slope)
            low, high = (u, high) if excess > 0.0 else (low, u)
            step = -excess / (s * (minus.bend / minus.slope + plus.bend / plus.slope))
            moved = u + step if low < u + step < high or not np.isfinite(high - low) else (low + high) / 2.0
            if abs(moved - u) <= 1e-15 * (self.tau + abs(u)):
                break
            u = moved
        return -minus.reach / minus.slope - plus.reach / plus.slope, u

    def _newton(self, s: float, u: float) -> tuple[float, float]:
        """Damped Newton; a step that the value cannot judge is taken whole."""
        small = np.inf
        for _ in range(200):
            value, minus, plus = self.terms(s, u)
            along, across, decrement = _newton_step(*self.derivatives(s, u, value, minus, plus))
            if decrement < 1e-11:
                if not decrement < 0.25 * small:
                    break
                small = decrement
            size = min(1.0, 0.9 / max(-along, 1e-300))
            while True:
                wide = s * (1.0 + size * along)
                there = wide, (s * u + size * across) / wide
                if small < np.inf or self.terms(*there)[0] <= value - 1e-4 * size * decrement or size < 1e-12:
                    break
                size /= 2.0
            s, u = there
        return s, u


def _newton_step(gradient: np.ndarray, hessian: np.ndarray) -> tuple[float, float, float]:
    """Newton's step for the log of the sum where that is convex there, else for the sum; the squared decrement."""
    for curved in (hessian - np.outer(gradient, gradient), hessian):
        a, b, c = curved[0, 0], curved[0, 1], curved[1, 1]
        determinant = a * c - b * b
        if a > 0.0 and c > 0.0 and determinant > 1e-12 * a * c:
            break
    else:
        determinant = max(determinant, 1e-10 * a * c)
    along = -(c * gradient[0] - b * gradient[1]) / determinant
    across = -(a * gradient[1] - b * gradient[0]) / determinant
    return float(along), float(across), float(-(gradient[0] * along + gradient[1] * across))
