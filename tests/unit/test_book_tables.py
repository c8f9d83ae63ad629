from datetime import date
from types import SimpleNamespace

import book_tables
import pytest
from book_tables import HardwareTable, ModelsTable, in_chinese, power_of_ten


@pytest.mark.parametrize(
    ("number", "written"),
    [
        (512, "512"),
        (60_000, "6万"),
        (60_192_808, "6,019万"),
        (109_482_240, "1.095亿"),
        (174.6e9, "1,746亿"),
        (1e12, "1万亿"),
        (15.6e12, "15.6万亿"),
        (99_999_999, "1亿"),
        (999_999_999_999, "1万亿"),
        (9_999.7, "1万"),
        (2.4e16, "24,000万亿"),
    ],
)
def test_large_numbers_are_counted_as_chinese_counts_them(number, written):
    assert in_chinese(number) == written


@pytest.mark.parametrize(
    ("number", "written"), [(3.14e23, "3.14×10²³"), (37_908 * 10**21, "3.79×10²⁵"), (2e10, "2.00×10¹⁰")]
)
def test_powers_of_ten_need_no_formula(number, written):
    assert power_of_ten(number) == written


MODEL = {"label": "M", "released": date(2025, 4, 5), "parameters": 400_000_000_000, "source": ["a", "b"]}
CHIP = {"label": "C", "announced": 2022, "peak_flop_per_second": {"bf16": 1e15}, "source": ["a"]}
MEMORY = {"memory_bytes": 80e9, "bandwidth_bytes_per_second": 3.35e12, "power_watts": 700}
RENT = {"usd_per_hour": 3, "usd_per_hour_low": 1, "usd_per_hour_high": 7, "rent_date": "2026-05", "rent_source": "b"}
RENT |= {"rent_range_source": "c", "rent_note": "N"}


@pytest.mark.parametrize(
    ("directive", "row", "drawn"),
    [
        (ModelsTable, MODEL, "| M | 4,000亿 |  |  | 2025-04{cite}`a,b` |"),
        (
            ModelsTable,
            MODEL | {"active_parameters": 17_000_000_000, "tokens": 22_000_000_000_000, "note": "N"},
            "| M | 4,000亿（170亿） | 22万亿 | 2.24×10²⁴ | 2025-04{cite}`a,b`；N |",
        ),
        (HardwareTable, CHIP, "| C | BF16 1.00×10¹⁵ |  |  | 2022年{cite}`a` |"),
        (
            HardwareTable,
            CHIP | MEMORY | RENT,
            "| C | BF16 1.00×10¹⁵ | 3（1至7） | 80GB，3.35TB/s，700瓦 | 2022年{cite}`a`；租金：2026-05，N{cite}`b,c` |",
        ),
    ],
)
def test_tables_give_what_is_published_and_leave_the_rest_empty(monkeypatch, directive, row, drawn):
    monkeypatch.setattr(book_tables, "read_table", lambda env, name: {"name": row})
    assert directive.markdown(SimpleNamespace(env=None)).splitlines()[-1] == drawn


def test_every_directive_draws_its_own_table():
    added = {}
    app = SimpleNamespace(add_directive=added.__setitem__, add_role=lambda *role: None)
    book_tables.setup(app)
    assert (added["models-table"], added["hardware-table"]) == (ModelsTable, HardwareTable)
