"""The arithmetic of comparables: robust slopes for one make and model, and values leaving each vehicle out.

The logarithm of a price is taken as a level plus slopes in model year, mileage and their roots, fitted by
Huber's M-estimator (Huber 1964, "Robust Estimation of a Location Parameter", k = 1.345) by iteratively
reweighted least squares, with slopes shrunk toward those of the whole market as a ridge does. What is left
over (condition, equipment, local level) is taken from the most similar vehicles: a weighted mean of their
residuals, shrunk to zero where few are alike. Leaving a vehicle out is exact for the final weights: the
rank-one update of the hat matrix (Cook and Weisberg 1982, "Residuals and Influence in Regression").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]

TRAITS = ("trim", "engine", "drivetrain", "condition", "body_style", "fuel_type", "transmission")
MISMATCH = np.array((0.2, 0.3, 0.3, 0.3, 0.5, 0.5, 0.5))
"""How much less a comparable counts that differs in the trait of the same place in ``TRAITS``."""
YEARS_ALIKE = 2.0
"""Model years after which a comparable counts 1/e as much."""
KM_ALIKE = 30_000.0
"""Kilometres after which a comparable counts 1/e as much."""
NEIGHBOUR_SHRINKAGE = 0.2
"""Similar vehicles (in units of perfect likeness) that count for the level of the whole model."""
SLOPE_SHRINKAGE = 1.0
"""How firmly a model's slopes are held to the market's, in units of the market slopes' own size."""
MOST_YEARS_APART = 5
"""A comparable is at most so many model years away."""
FEWEST = 3
"""No value from fewer comparables."""
MOST_COMPARABLES = 400
"""Comparables weighed for one vehicle: the nearest model years up to about so many."""
FITTED_WITHOUT = 12
"""In segments up to this size a vehicle is left out by fitting again without it: one price moves the weights of few."""
TYPICAL_ERROR = 0.10
"""Mean absolute deviation of log prices from their value over a market, before a vehicle's own comparables speak."""
WITHIN = 0.15
"""Confidence is the probability that such a vehicle is priced within this share of its value."""
MARKET_SLOPES = np.array((0.70, -0.25, 0.07, -0.04))
"""Market slopes until enough vehicles are known to fit them; fitted on 3,400 advertisements of used cars in the USA."""

_MIX = np.array([3 ** (5 * i) * 2_654_435_761 % 2**62 | 1 for i in range(len(TRAITS))], np.int64)
_HUBER = 1.345
_CLIP = 3.0
_ITERATIONS = 8
_LEAST_SCALE = 0.03
_MOST_FITTED = 2_000


@dataclass(slots=True)
class Vehicles:
    """Columns of vehicles of one segment: model year, kilometres, log price, and traits as codes (0 unknown)."""

    year: Floats
    km: Floats
    log_price: Floats
    traits: Ints

    def __len__(self) -> int:
        return len(self.year)

    def take(self, where: NDArray[np.int64] | NDArray[np.bool_] | slice) -> Vehicles:
        """Those at the given places."""
        return Vehicles(self.year[where], self.km[where], self.log_price[where], self.traits[where])


@dataclass(slots=True)
class Fit:
    """A fitted segment: coefficients (level first) on centred features, residual scale, and what leaving out needs.

    ``slopes`` are the market's, to which its own are shrunk.
    """

    centre: Floats
    coefficients: Floats
    inverse: Floats
    slopes: Floats
    scale: float
    count: int


@dataclass(slots=True)
class Values:
    """What a batch of vehicles is worth: log value (NaN where unknown), comparables, spread, confidence.

    ``spread`` is the weighted mean absolute deviation of comparables' adjusted log prices, about their share
    of the price; ``best`` the places of each one's most similar comparables in the segment, nearest first (-1: none).
    """

    log_value: Floats
    count: Ints
    spread: Floats
    confidence: Floats
    best: Ints


def features(year: Floats, km: Floats, reference_year: int) -> Floats:
    """The regressors of each vehicle: model year in tens, 100,000 km, and the roots of age and mileage."""
    age = np.maximum(reference_year - year, 0.0)
    distance = np.maximum(km, 0.0) / 1e5
    return np.stack(((year - 2015.0) / 10.0, distance, np.sqrt(age) / 3.0, np.sqrt(distance)), axis=1)


def market_slopes(vehicles: Vehicles, segment: Ints, reference_year: int) -> Floats:
    """Slopes common to all segments, from prices and features centred within each; the default below 200 vehicles."""
    if len(vehicles) < 200:
        return MARKET_SLOPES.copy()
    x = features(vehicles.year, vehicles.km, reference_year)
    order, place = np.unique(segment, return_inverse=True)
    counts = np.bincount(place, minlength=len(order))
    means = np.stack([np.bincount(place, c, minlength=len(order)) for c in x.T], axis=1) / counts[:, None]
    level = np.bincount(place, vehicles.log_price, minlength=len(order)) / counts
    several = counts[place] >= 4
    x, y = (x - means[place])[several], (vehicles.log_price - level[place])[several]
    if len(y) < 200:
        return MARKET_SLOPES.copy()
    return _robust(x, y, np.zeros(x.shape[1]), np.full(x.shape[1], 1e-6))[0]


def fit_segment(vehicles: Vehicles, slopes: Floats, reference_year: int) -> Fit:
    """Fit one make and model (at least one vehicle), its slopes shrunk to the market's."""
    if len(vehicles) > _MOST_FITTED:
        vehicles = vehicles.take(np.linspace(0, len(vehicles) - 1, _MOST_FITTED).astype(np.int64))
    x = features(vehicles.year, vehicles.km, reference_year)
    centre = x.mean(axis=0)
    design = np.concatenate((np.ones((len(x), 1)), x - centre), axis=1)
    prior = np.concatenate(((0.0,), slopes))
    penalty = np.concatenate(((1e-9,), SLOPE_SHRINKAGE / np.maximum(slopes**2, 0.01)))
    coefficients, scale, inverse = _robust(design, vehicles.log_price, prior, penalty)
    return Fit(centre, coefficients, inverse, slopes, scale, len(vehicles))


def value_subjects(
    subjects: Vehicles, own: Ints, comparables: Vehicles, fit: Fit, reference_year: int, *, nearest: int = 5
) -> Values:
    """Value subjects of one segment by its comparables; ``own`` is each subject's own place among them, or -1."""
    n = len(subjects)
    values = Values(
        np.full(n, np.nan), np.zeros(n, np.int64), np.full(n, np.nan), np.zeros(n), np.full((n, nearest), -1, np.int64)
    )
    if len(comparables) < FEWEST:
        return values
    if len(comparables) <= FITTED_WITHOUT and (own >= 0).any():
        _value_without(values, subjects, own, comparables, fit, reference_year)
        return values
    subjects = Vehicles(subjects.year, _with_typical_km(subjects, comparables), subjects.log_price, subjects.traits)
    state = _State(comparables, fit, reference_year)
    if len(comparables) <= MOST_COMPARABLES:
        _value_block(values, np.arange(n), subjects, own, np.arange(len(comparables)), state, nearest)
        return values
    for year in np.unique(subjects.year):
        block = np.flatnonzero(subjects.year == year)
        near = _near(comparables.year, float(year))
        if len(near) >= FEWEST:
            _value_block(values, block, subjects.take(block), own[block], near, state, nearest)
    return values


def _value_without(
    values: Values, subjects: Vehicles, own: Ints, comparables: Vehicles, fit: Fit, reference_year: int
) -> None:
    """Value each subject by a fit that never saw it."""
    nobody = np.array([-1], np.int64)
    for place in range(len(subjects)):
        rest = np.flatnonzero(np.arange(len(comparables)) != own[place])
        others = comparables.take(rest)
        if len(others) < FEWEST:
            continue
        refit = fit_segment(others, fit.slopes, reference_year) if own[place] >= 0 else fit
        nearest = values.best.shape[1]
        one = value_subjects(subjects.take(np.array([place])), nobody, others, refit, reference_year, nearest=nearest)
        for name in ("log_value", "count", "spread", "confidence"):
            getattr(values, name)[place] = getattr(one, name)[0]
        values.best[place] = np.where(one.best[0] >= 0, rest[one.best[0]], -1)


class _State:
    """A segment's comparables with what every subject of it needs."""

    def __init__(self, comparables: Vehicles, fit: Fit, reference_year: int) -> None:
        self.comparables, self.fit, self.reference_year = comparables, fit, reference_year
        self.design = self.rows(comparables.year, comparables.km)
        self.residual = comparables.log_price - self.design @ fit.coefficients
        weight = np.minimum(1.0, _HUBER * fit.scale / np.maximum(np.abs(self.residual), 1e-12)) / fit.scale**2
        self.projected = self.design @ fit.inverse
        self.influence = self.projected * weight[:, None]
        self.leverage = np.clip(np.einsum("ij,ij->i", self.influence, self.design), 0.0, 0.95)

        self.kinds, self.kind = _distinct(comparables.traits)

    def likeness(self, traits: Ints) -> Floats:
        """How alike subjects with these traits and each kind of comparable are, 0 to 1."""
        mine, which = _distinct(traits)
        alike = np.ones((len(mine), len(self.kinds)))
        for column, factor in enumerate(MISMATCH):
            one, other = mine[:, column, None], self.kinds[:, column]
            unknown = (one == 0) | (other == 0)
            alike *= np.where(unknown, factor**0.5, np.where(one == other, 1.0, factor))
        return alike[which]

    def rows(self, year: Floats, km: Floats) -> Floats:
        """The design matrix's rows for these vehicles."""
        x = features(year, km, self.reference_year) - self.fit.centre
        return np.concatenate((np.ones((len(x), 1)), x), axis=1)


def _value_block(
    values: Values, block: Ints, subjects: Vehicles, own: Ints, near: Ints, state: _State, nearest: int
) -> None:
    """Value subjects (at ``block`` in ``values``) by the comparables at ``near`` in the segment."""
    comparables = state.comparables.take(near)
    apart = np.abs(comparables.year - subjects.year[:, None])
    weight = np.exp(apart / -YEARS_ALIKE - np.abs(subjects.km[:, None] - comparables.km) / KM_ALIKE)
    weight *= state.likeness(subjects.traits)[:, state.kind[near]]
    inside = own >= 0
    reachable = apart <= MOST_YEARS_APART
    reachable[inside] &= near != own[inside, None]  # a vehicle never values itself
    weight *= reachable
    # What the fit and the others' residuals would be without the subject.
    predicted = state.rows(subjects.year, subjects.km) @ state.fit.coefficients
    residual = np.broadcast_to(state.residual[near], weight.shape)
    if inside.any():
        mine = own[inside]
        lost = state.residual[mine] / (1.0 - state.leverage[mine])
        predicted[inside] -= np.einsum("ij,ij->i", state.influence[mine], state.design[mine]) * lost
        residual = residual.copy()
        residual[inside] += (state.influence[mine] @ state.design[near].T) * lost[:, None]
    limit = _CLIP * state.fit.scale
    total = weight.sum(axis=1)
    alike = total**2 / np.maximum(np.einsum("ij,ij->i", weight, weight), 1e-12)
    local = np.einsum("ij,ij->i", weight, np.clip(residual, -limit, limit)) / (total + NEIGHBOUR_SHRINKAGE)
    deviation = np.einsum("ij,ij->i", weight, np.abs(residual - local[:, None]))
    spread = (deviation + TYPICAL_ERROR) / (total + 1.0)
    count = reachable.sum(axis=1)
    known = count >= FEWEST
    values.log_value[block] = np.where(known, predicted + local, np.nan)
    values.count[block] = count
    values.spread[block] = spread
    # A Laplace distribution with this mean absolute error, widened by the error of the level itself.
    error = spread * np.sqrt(1.0 + 1.0 / np.maximum(alike, 1.0))
    values.confidence[block] = np.where(known, 1.0 - np.exp(-WITHIN / error), 0.0)
    top = min(nearest, weight.shape[1])
    chosen = np.argpartition(-weight, top - 1, axis=1)[:, :top]
    row = np.arange(len(weight))[:, None]
    chosen = chosen[row, np.argsort(-weight[row, chosen], axis=1)]
    values.best[block, :top] = np.where(weight[row, chosen] > 0, near[chosen], -1)


def _distinct(traits: Ints) -> tuple[Ints, Ints]:
    """The distinct rows of traits, and which of them each row is."""
    key = (traits * _MIX).sum(axis=1)
    _, first, which = np.unique(key, return_index=True, return_inverse=True)
    return traits[first], which


def _near(years: Floats, year: float) -> Ints:
    """The places of comparables within reach of a model year: whole years outward until there are enough."""
    apart = np.abs(years - year)
    counts = np.bincount(np.minimum(apart, MOST_YEARS_APART + 1).astype(np.int64), minlength=MOST_YEARS_APART + 2)
    enough = np.flatnonzero(np.cumsum(counts[:-1]) >= MOST_COMPARABLES)
    reach = max(1, int(enough[0])) if len(enough) else MOST_YEARS_APART
    return np.flatnonzero(apart <= reach)


def _with_typical_km(subjects: Vehicles, comparables: Vehicles) -> Floats:
    """The subjects' mileages, where unknown (NaN) the median of the comparables nearest in model year."""
    km = subjects.km.copy()
    for place in np.flatnonzero(np.isnan(km)):
        apart = np.abs(comparables.year - subjects.year[place])
        km[place] = np.median(comparables.km[apart <= max(1.0, apart.min())])
    return km


def _robust(x: Floats, y: Floats, prior: Floats, penalty: Floats) -> tuple[Floats, float, Floats]:
    """Huber regression with a ridge toward ``prior``: coefficients, scale, inverse of the penalised information."""
    b = prior.copy()
    if penalty[0] < 1e-6:  # the level: start from the median
        b[0] = np.median(y - x[:, 1:] @ prior[1:])
    ridge = np.diag(penalty)
    information = ridge
    scale = _LEAST_SCALE
    for _ in range(_ITERATIONS):
        size = np.abs(y - x @ b)
        scale = max(1.4826 * float(np.median(size)), _LEAST_SCALE)
        weighted = x * (np.minimum(1.0, _HUBER * scale / np.maximum(size, 1e-12)) / scale**2)[:, None]
        information = weighted.T @ x + ridge
        step = np.linalg.solve(information, weighted.T @ y + penalty * prior) - b
        b = b + step
        if np.abs(step).max() < 1e-4:
            break
    inverse: Floats = np.linalg.inv(information).astype(np.float64)
    return b, scale, inverse
