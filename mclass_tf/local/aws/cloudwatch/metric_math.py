"""Metric math: the expressions that CloudWatch evaluates over metrics.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html
"""

from __future__ import annotations

import itertools
import math
import operator
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


class ExpressionError(Exception):
    """The expression is wrong, or uses a function that is not modelled."""


class TimeSeries(dict[int, float]):
    """Values by the number of their period; a period without one is missing."""


Value = float | str | TimeSeries | tuple["Value", ...]


@dataclass(frozen=True, kw_only=True)
class Context:
    """What an expression is evaluated over: metrics by their id, so many periods of so many seconds."""

    metrics: Mapping[str, TimeSeries]
    periods: int
    seconds: float


def evaluate(expression: str, context: Context) -> TimeSeries:
    """Return the series that the expression gives; a single number is none, as in CloudWatch."""
    value = _Parser(expression, context).parse()
    if not isinstance(value, TimeSeries):
        raise ExpressionError(f"The expression {expression!r} does not give one time series")
    return value


_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+\.?\d*(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z_]\w*)|(?P<text>\"[^\"]*\"|'[^']*')"
    r"|(?P<sign><=|>=|==|!=|&&|\|\||[-+*/^()\[\],<>]))"
)

_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


class _Parser:
    """Evaluates while it reads, by precedence: or, and, comparison, sum, product, sign, power."""

    def __init__(self, expression: str, context: Context) -> None:
        self._context = context
        self._expression = expression
        self._tokens = self._read(expression)
        self._position = 0

    def parse(self) -> Value:
        value = self._either()
        if self._position < len(self._tokens):
            raise self._error(f"unexpected {self._tokens[self._position][1]!r}")
        return value

    def _read(self, expression: str) -> list[tuple[str, str]]:
        tokens, position = [], 0
        rest = expression.rstrip()
        while position < len(rest):
            match = _TOKEN.match(rest, position)
            if match is None or match.lastgroup is None:
                raise self._error(f"unexpected {rest[position:]!r}")
            tokens.append((match.lastgroup, match[match.lastgroup]))
            position = match.end()
        return tokens

    def _error(self, reason: str) -> ExpressionError:
        return ExpressionError(f"Error in expression {self._expression!r}: {reason}")

    def _peek(self) -> str:
        return self._tokens[self._position][1] if self._position < len(self._tokens) else ""

    def _take(self, *accepted: str) -> str:
        token = self._peek()
        if token not in accepted or not token:
            return ""
        self._position += 1
        return token

    def _expect(self, token: str) -> None:
        if not self._take(token):
            raise self._error(f"{token!r} is missing before {self._peek()!r}")

    def _either(self) -> Value:
        left = self._both()
        while self._take("||", "OR"):
            left = _pointwise(lambda one, other: float(bool(one) or bool(other)), left, self._both())
        return left

    def _both(self) -> Value:
        left = self._comparison()
        while self._take("&&", "AND"):
            left = _pointwise(lambda one, other: float(bool(one) and bool(other)), left, self._comparison())
        return left

    def _comparison(self) -> Value:
        left = self._sum()
        while sign := self._take(*_COMPARISONS):
            left = _pointwise(_truth(_COMPARISONS[sign]), left, self._sum())
        return left

    def _sum(self) -> Value:
        left = self._product()
        while sign := self._take("+", "-"):
            left = _pointwise(operator.add if sign == "+" else operator.sub, left, self._product())
        return left

    def _product(self) -> Value:
        left = self._signed()
        while sign := self._take("*", "/"):
            left = _pointwise(operator.mul if sign == "*" else _divide, left, self._signed())
        return left

    def _signed(self) -> Value:
        if self._take("-"):
            return _pointwise(operator.mul, -1.0, self._signed())
        return self._power()

    def _power(self) -> Value:
        left = self._atom()
        return _pointwise(_raise, left, self._signed()) if self._take("^") else left

    def _atom(self) -> Value:
        if self._position >= len(self._tokens):
            raise self._error("it ends too early")
        kind, text = self._tokens[self._position]
        self._position += 1
        if kind == "number":
            return float(text)
        if kind == "text":
            return text[1:-1]
        if text == "(":
            value = self._either()
            self._expect(")")
            return value
        if text == "[":
            return self._list("]")
        if kind == "name":
            return self._named(text)
        raise self._error(f"unexpected {text!r}")

    def _list(self, end: str) -> tuple[Value, ...]:
        values: list[Value] = []
        while not self._take(end):
            if values:
                self._expect(",")
            values.append(self._either())
        return tuple(values)

    def _named(self, name: str) -> Value:
        if self._take("("):
            return self._call(name.upper(), self._list(")"))
        if name in self._context.metrics:
            return self._context.metrics[name]
        if name.upper() in ("REPEAT", "LINEAR"):
            return name.upper()
        raise self._error(f"{name!r} is not the id of a metric")

    def _call(self, name: str, given: Sequence[Value]) -> Value:
        function = _FUNCTIONS.get(name)
        if function is None:
            raise self._error(f"the function {name} is not modelled")
        try:
            return function(self._context, *given)
        except (TypeError, AttributeError, ValueError) as error:
            raise self._error(f"{name} does not take this: {error}") from error


# ---- values


def _pointwise(how: Callable[[float, float], float | None], one: Value, other: Value) -> Value:
    """Combine two numbers, a number and a series, two series where both have a value, or lists of these."""
    if isinstance(one, str) or isinstance(other, str):
        raise ExpressionError("a text has no value")
    if isinstance(one, tuple):
        others = other if isinstance(other, tuple) else (other,) * len(one)
        return tuple(_pointwise(how, *pair) for pair in zip(one, others, strict=True))
    if isinstance(other, tuple):
        return tuple(_pointwise(how, one, entry) for entry in other)
    if isinstance(one, TimeSeries) or isinstance(other, TimeSeries):
        return _series(how, one, other)
    value = how(one, other)
    if value is None:
        raise ExpressionError("the result is no number")
    return value


def _series(
    how: Callable[[float, float], float | None], one: float | TimeSeries, other: float | TimeSeries
) -> TimeSeries:
    keys = set(one if isinstance(one, TimeSeries) else ()) | set(
        other if isinstance(other, TimeSeries) else ()
    )
    combined = TimeSeries()
    for key in sorted(keys):
        left = one.get(key) if isinstance(one, TimeSeries) else one
        right = other.get(key) if isinstance(other, TimeSeries) else other
        value = None if left is None or right is None else how(left, right)
        if value is not None:
            combined[key] = value
    return combined


def _truth(compare: Callable[[float, float], bool]) -> Callable[[float, float], float]:
    return lambda one, other: float(compare(one, other))


def _divide(one: float, other: float) -> float | None:
    return one / other if other else None


def _raise(one: float, other: float) -> float | None:
    power = one**other if one or other >= 0 else None
    return power if isinstance(power, float) else None


def _all_series(given: Value) -> tuple[TimeSeries, ...]:
    entries = given if isinstance(given, tuple) else (given,)
    if not all(isinstance(entry, TimeSeries) for entry in entries):
        raise ExpressionError("a metric or a list of metrics is required")
    return tuple(entry for entry in entries if isinstance(entry, TimeSeries))


# ---- functions


def _aggregate(how: Callable[[Sequence[float]], float]) -> Callable[..., Value]:
    """Return a function that gives a series over a list of series, period by period, and a number over one series."""

    def function(_context: Context, given: Value) -> Value:
        entries = _all_series(given)
        if not isinstance(given, tuple):
            return how(list(entries[0].values())) if entries[0] else math.nan
        aggregated = TimeSeries()
        for key in sorted({key for entry in entries for key in entry}):
            aggregated[key] = how([entry[key] for entry in entries if key in entry])
        return aggregated

    return function


def _each(how: Callable[[float], float]) -> Callable[..., Value]:
    def function(_context: Context, given: Value) -> Value:
        return _pointwise(lambda one, _: how(one), given, 0.0)

    return function


def _fill(context: Context, given: Value, filler: Value) -> Value:
    """Give every period a value: a number, the one of another series, the last one (REPEAT), or between two (LINEAR)."""
    if isinstance(given, tuple):
        return tuple(_fill(context, entry, filler) for entry in given)
    (series,) = _all_series(given)
    filled = TimeSeries(series)
    for period in range(context.periods):
        value = _filling(series, filler, period)
        if period not in filled and value is not None:
            filled[period] = value
    return TimeSeries(sorted(filled.items()))


def _filling(series: TimeSeries, filler: Value, period: int) -> float | None:
    before = max((key for key in series if key < period), default=None)
    after = min((key for key in series if key > period), default=None)
    match filler:
        case TimeSeries():
            return filler.get(period)
        case "REPEAT":
            return None if before is None else series[before]
        case "LINEAR":
            if before is None or after is None:
                return None
            return series[before] + (series[after] - series[before]) * (period - before) / (after - before)
        case float():
            return filler
    raise ExpressionError("FILL takes a number, a metric, REPEAT or LINEAR")


def _if(_context: Context, condition: Value, yes: Value, no: Value | None = None) -> Value:
    if isinstance(condition, float):
        return yes if condition else (TimeSeries() if no is None else no)
    (series,) = _all_series(condition)
    chosen_values = TimeSeries()
    for key, truth in series.items():
        chosen = yes if truth else no
        value = chosen.get(key) if isinstance(chosen, TimeSeries) else chosen
        if isinstance(value, float):
            chosen_values[key] = value
    return chosen_values


def _metrics(context: Context, part: Value = "") -> Value:
    return tuple(series for name, series in context.metrics.items() if str(part) in name)


def _differences(_context: Context, given: Value) -> TimeSeries:
    (series,) = _all_series(given)
    keys = sorted(series)
    return TimeSeries({key: series[key] - series[before] for before, key in itertools.pairwise(keys)})


def _rate(context: Context, given: Value) -> TimeSeries:
    (series,) = _all_series(given)
    keys = sorted(series)
    return TimeSeries(
        {
            key: (series[key] - series[before]) / ((key - before) * context.seconds)
            for before, key in itertools.pairwise(keys)
        }
    )


def _running_sum(_context: Context, given: Value) -> TimeSeries:
    (series,) = _all_series(given)
    total, sums = 0.0, TimeSeries()
    for key in sorted(series):
        total += series[key]
        sums[key] = total
    return sums


def _time_series(context: Context, given: Value) -> TimeSeries:
    if not isinstance(given, float):
        raise ExpressionError("TIME_SERIES takes a number")
    return TimeSeries(dict.fromkeys(range(context.periods), given))


_FUNCTIONS: Mapping[str, Callable[..., Value]] = {
    "ABS": _each(abs),
    "AVG": _aggregate(statistics.fmean),
    "CEIL": _each(lambda value: float(math.ceil(value))),
    "DIFF": _differences,
    "FILL": _fill,
    "FLOOR": _each(lambda value: float(math.floor(value))),
    "IF": _if,
    "MAX": _aggregate(max),
    "METRICS": _metrics,
    "MIN": _aggregate(min),
    "PERIOD": lambda context, _given: float(context.seconds),
    "RATE": _rate,
    "RUNNING_SUM": _running_sum,
    "STDDEV": _aggregate(statistics.pstdev),
    "SUM": _aggregate(math.fsum),
    "TIME_SERIES": _time_series,
}
