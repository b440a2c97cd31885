"""Tiny files of a retail year."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from workers.evaluation_sets.retail import FIRST


def written(folder: Path, name: str, **columns: Any) -> Path:
    path = folder / f"{name}.parquet"
    pq.write_table(pa.table(columns), str(path))
    return path


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Two households, three products, one campaign with coupons on bread, one of them used."""
    at = [FIRST.replace(tzinfo=None) + timedelta(days=day, hours=8) for day in (3, 3, 40, 60, 80)]
    written(
        tmp_path, "transactions", household_id=[1, 1, 1, 2, 1], basket_id=[10, 10, 11, 12, 13],
        product_id=[100, 200, 100, 300, 100], quantity=[2, 1, 1, 3000, 1], sales_value=[4.0, 3.0, 1.5, 9.99, 2.0],
        coupon_disc=[0.0, 0.0, 0.5, 0.0, 0.0], transaction_timestamp=at,
    )  # fmt: skip
    written(tmp_path, "products", product_id=[300, 100, 200], product_category=["FUEL", "BREAD", "TEA"])
    written(tmp_path, "coupons", coupon_upc=[7, 7, 7], product_id=[100, 100, 200], campaign_id=[5, 5, 5])
    written(tmp_path, "campaigns", campaign_id=[5, 5], household_id=[2, 1])
    dates = {name: [datetime(2017, 2, day, tzinfo=UTC)] for name, day in (("start_date", 1), ("end_date", 20))}
    written(tmp_path, "campaign_descriptions", campaign_id=[5], campaign_type=["Type A"], **dates)
    written(
        tmp_path, "coupon_redemptions", household_id=[1], coupon_upc=[7], campaign_id=[5],
        redemption_date=[datetime(2017, 2, 10, tzinfo=UTC)],
    )  # fmt: skip
    return tmp_path
