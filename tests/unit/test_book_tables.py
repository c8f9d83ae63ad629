import pytest
from book_tables import in_chinese, power_of_ten


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
    ],
)
def test_large_numbers_are_counted_as_chinese_counts_them(number, written):
    assert in_chinese(number) == written


@pytest.mark.parametrize(
    ("number", "written"), [(3.14e23, "3.14×10²³"), (37_908 * 10**21, "3.79×10²⁵"), (2e10, "2.00×10¹⁰")]
)
def test_powers_of_ten_need_no_formula(number, written):
    assert power_of_ten(number) == written
