"""Structures of a study: their names and values in reference files."""

import pytest

from lib.errors import ConfigError
from lib.structures import check_method, describe_structures, read_structures, study_values, values_in_file


def test_values_by_name_in_the_order_of_the_configuration():
    assert read_structures({"femur": "any"}) == {"femur": ()}
    assert read_structures({"L2": [21], "L1": [20, 120]}) == {"L2": (21,), "L1": (20, 120)}
    assert list(read_structures({"L2": [21], "L1": [20]})) == ["L2", "L1"]


@pytest.mark.parametrize(
    ("structures", "text"),
    [
        ({}, "name 1 to 32"),
        ({f"B{n}": [n + 1] for n in range(33)}, "got 33"),
        ({"L1": "any", "L2": [2]}, "must be the only structure"),
        ({"L1": [1], "L2": [2, 1]}, "value 1 is listed twice, also for L1"),
        ({"L1": [1, 1]}, "value 1 is listed twice; a voxel"),
        ({"L1": [1], "l1": [2]}, "only by capitals"),
        ({"L 1": [1]}, "is not a name"),
        ({20: [1]}, "is not a name"),
        ({"L1": []}, "got \\[\\]"),
        ({"L1": [0]}, "whole numbers above 0"),
        ({"L1": [1.5]}, "whole numbers above 0"),
        ({"L1": "all"}, "got 'all'"),
        ({"L1": 20}, "got 20"),
    ],
)
def test_unusable_structures_are_refused(structures, text):
    with pytest.raises(ConfigError, match=text):
        read_structures(structures)


def test_values_in_a_file_are_those_of_its_row_if_it_names_any():
    assert values_in_file({"femur": ()}, (75, 76)) == {"femur": (75, 76)}
    assert values_in_file({"femur": (7,)}, [75]) == {"femur": (75,)}
    for structures in ({"femur": (7,)}, {"L1": (20,), "L2": (21,)}):
        assert values_in_file(structures, ()) == structures


def test_values_in_label_maps_of_the_study_count_from_1():
    assert study_values({"L2": (21,), "L1": (20,)}) == {"L2": (1,), "L1": (2,)}


def test_structures_in_words():
    assert describe_structures({"femur": ()}) == "femur (above 0)"
    assert describe_structures({"L1": (20, 120), "L2": (21,)}) == "L1 (20, 120), L2 (21)"


def test_the_method_of_masks_suits_the_number_of_structures():
    several = {"L1": [20], "L2": [21]}
    check_method("argmax", several)
    for method in ("otsu", "half"):
        check_method(method, {"femur": "any"})
        with pytest.raises(ConfigError, match=r"mask.method: .* 2 structure\(s\) L1, L2; set argmax"):
            check_method(method, several)
    with pytest.raises(ConfigError, match="set otsu or half"):
        check_method("argmax", {"femur": "any"})
