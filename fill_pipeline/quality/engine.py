"""Great Expectations as the engine of the asset checks.

Its import costs 4.3 CPU s and 220 MB, so that it happens inside the function, in the run that checks and nowhere
else. Its context lives in memory, shows no progress bars and is told to send no usage statistics (a test watches
for sockets).
"""

from __future__ import annotations

import logging
import os
import threading
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from fill_pipeline.quality.expectations import Columns, Expectation, Suite
from fill_pipeline.quality.hits import shown

MOST_SHOWN = 10
"""Unexpected values shown of one expectation."""
_NAME = "name"
_LOCK = threading.Lock()


@dataclass(frozen=True, slots=True)
class Checked:
    """What Great Expectations found; counts of values, percentages 0 to 100 of those that are not missing.

    ``positions`` are the places of the unexpected values that are shown, counted from 0. ``error`` says why an
    expectation could not be evaluated; then it is not met.
    """

    expectation: Expectation
    success: bool
    elements: int
    missing: int
    unexpected: int
    unexpected_percent: float | None
    unexpected_values: tuple[Any, ...]
    positions: tuple[int, ...]
    error: str | None = None


def check(suite: Suite, columns: Columns) -> list[Checked]:
    """Evaluate a suite over columns of equal length with Great Expectations, in the suite's order."""
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _check(suite, columns)


def _check(suite: Suite, columns: Columns) -> list[Checked]:
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations as gx
    import pandas as pd  # type: ignore[import-untyped]
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
    from great_expectations.expectations.metadata_types import FailureSeverity

    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    wanted = {one.column for one in suite.expectations}
    # Objects: pandas would turn whole numbers with gaps into floats, and None into NaN.
    frame = pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in columns.items() if name in wanted})
    config = DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(),
        analytics_enabled=False,
        progress_bars=ProgressBarsConfig(globally=False, metric_calculations=False),
    )
    context = gx.get_context(mode="ephemeral", project_config=config)
    asset = context.data_sources.add_pandas("fill").add_dataframe_asset(suite.name)
    batch = asset.add_batch_definition_whole_dataframe("whole").get_batch({"dataframe": frame})
    expected = [
        ExpectationConfiguration(
            type=one.kind.value, kwargs=one.arguments(), meta={_NAME: one.name}, severity=FailureSeverity(one.severity)
        ).to_domain_obj()
        for one in suite.expectations
    ]
    result = batch.validate(
        gx.ExpectationSuite(name=suite.name, expectations=expected),
        result_format={"result_format": "SUMMARY", "partial_unexpected_count": MOST_SHOWN},
    )
    found: dict[str, Mapping[str, Any]] = {}
    for one_result in result.results:
        told: dict[str, Any] = dict(one_result.to_json_dict())
        found[told["expectation_config"]["meta"][_NAME]] = told
    return [_checked(one, found[one.name]) for one in suite.expectations]


def _checked(one: Expectation, result: Mapping[str, Any]) -> Checked:
    facts = result["result"]
    raised = result.get("exception_info", {})
    error = raised.get("exception_message") if raised.get("raised_exception") else None
    if not facts and error is None:
        error = str(raised)[:300] if raised else "no result"
    percent = facts.get("unexpected_percent")
    return Checked(
        one,
        bool(result["success"]),
        int(facts.get("element_count") or 0),
        int(facts.get("missing_count") or 0),
        int(facts.get("unexpected_count") or 0),
        None if percent is None else round(float(percent), 4),
        bounded(facts.get("partial_unexpected_list") or ()),
        tuple(int(i) for i in (facts.get("partial_unexpected_index_list") or ())[:MOST_SHOWN]),
        error,
    )


def bounded(values: Sequence[Any]) -> tuple[Any, ...]:
    """Values fit to be shown: few, short, of plain types."""
    return tuple(_plain(value) for value in values[:MOST_SHOWN])


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    return shown(value.isoformat() if isinstance(value, date | datetime) else str(value))
