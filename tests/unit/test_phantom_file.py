"""The certificates of phantoms: what is read, and what is refused with its phantom and rod."""

import copy

import pytest
import yaml
from rod_scene import CAHA, MINDWAYS

from lib.certificates import Certificate
from lib.errors import ConfigError
from lib.phantom_file import check_certificates, read_certificates


def refusal(entry):
    with pytest.raises(ConfigError) as caught:
        check_certificates({"mind-1": entry}, "phantoms.yaml")
    return str(caught.value)


def test_a_file_of_two_phantoms(tmp_path):
    path = tmp_path / "phantoms.yaml"
    path.write_text(yaml.safe_dump({"mind-1": MINDWAYS, "qrm": CAHA}))
    found = read_certificates(path)
    mindways, qrm = found["mind-1"], found["qrm"]
    assert (mindways.name, mindways.scale, mindways.has_water) == ("mind-1", "k2hpo4", True)
    assert mindways.rods[1].water_mg_cm3 == 1056.95 and mindways.rod_distances_mm == (32.0,) * 4
    assert (qrm.has_water, qrm.rod_distances_mm, qrm.may_lie_reversed) == (False, (30.0, 30.0), True)
    for certificate in found.values():
        assert Certificate.from_json(certificate.to_json()) == certificate
        yaml.safe_dump(certificate.to_json())  # plain values, as parameters of a rule


def test_a_list_of_distances():
    entry = MINDWAYS | {"rod_distance_mm": [30, 31.5, 32, 33]}
    found = check_certificates({"mind-1": entry}, "phantoms.yaml")["mind-1"]
    assert found.rod_distances_mm == (30.0, 31.5, 32.0, 33.0)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"rods": []}, "phantom mind-1: no list of rods; expected the rods that the certificate lists"),
        ({"rods": 5}, "no list of rods; expected the rods"),
        ({"scale": None}, "phantom mind-1: scale is missing; expected one of k2hpo4, caha"),
        ({"scale": "bone"}, "scale 'bone' is unknown; expected one of k2hpo4, caha"),
        ({"scale": "caha"}, "water_mg_cm3 beside scale caha"),
        ({"rod_distance_mm": [32, 32]}, "rod_distance_mm lists 2 distances; expected 4 for 5 rods"),
        ({"rod_distance_mm": "wide"}, "rod_distance_mm 'wide'; expected a number from 5 to 200"),
        ({"rod_distance_mm": 15}, "rod_distance_mm 15 is less than two radii (18 mm)"),
        ({"rod_radius_mm": None}, "rod_radius_mm None; expected a number from 2 to 40 (mm)"),
        ({"rod_radius_mm": True}, "rod_radius_mm True; expected a number"),
        ({"may_lie_reversed": "no"}, "may_lie_reversed 'no'; expected true or false"),
        ({"rod_radius": 9}, "unknown key 'rod_radius'; did you mean rod_radius_mm?"),
        ({"colour": "red"}, "unknown key 'colour'; known keys: scale, rods, "),
    ],
)
def test_what_is_wrong_with_a_phantom(changed, told):
    text = refusal(MINDWAYS | changed)
    assert told in text and text.startswith("phantoms.yaml: ")


@pytest.mark.parametrize(
    ("rod", "told"),
    [
        ({"water_mg_cm3": 1012}, "phantom mind-1, rod 2: density_mg_cm3 is missing; expected the density"),
        ({"density_mg_cm3": "much"}, "phantom mind-1, rod 2: density_mg_cm3 'much'; expected a number"),
        (
            {"density_mg_cm3": 50, "water_mg_cm3": 1.05},
            "rod 2: water_mg_cm3 1.05; expected a number from 500",
        ),
        (
            {"density_mg_cm3": 50},
            "water_mg_cm3 is missing of rod 2; expected for all rods or for none",
        ),
        ({"density_mg_cm3": 50, "hu": 3}, "phantom mind-1, rod 2: unknown key 'hu'"),
        (50, "phantom mind-1, rod 2: 50; expected {density_mg_cm3: NUMBER}"),
    ],
)
def test_what_is_wrong_with_a_rod(rod, told):
    entry = copy.deepcopy(MINDWAYS)
    entry["rods"][1] = rod
    assert told in refusal(entry)


def test_rods_of_two_densities_are_too_few():
    entry = CAHA | {"rods": [{"density_mg_cm3": d} for d in (0, 100, 0, 100)]}
    assert "2 different densities; expected at least 3" in refusal(entry)


def test_every_problem_is_listed():
    text = refusal(MINDWAYS | {"scale": "x", "rod_radius_mm": -1, "may_lie_reversed": 3})
    assert "3 problems; nothing was run" in text


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(
        ConfigError, match=r"there is no file .*phantoms.yaml; the path is relative to the cohort"
    ):
        read_certificates(tmp_path / "phantoms.yaml")
    path = tmp_path / "phantoms.yaml"
    for text, told in (
        ("", "phantoms.yaml: no phantom found"),
        ("- a\n", "phantoms.yaml, line 1: no keys found"),
        ("a: {scale: k2hpo4\n", "phantoms.yaml, line"),
        ("a: 3\n", "phantom a: no entry; expected the keys scale, rods"),
        ("a: {scale: caha, scale: k2hpo4}\n", "phantoms.yaml, line 1: a.scale is already in line 1"),
        ("/etc: {}\n", "phantom '/etc': a name has letters"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigError) as caught:
            read_certificates(path)
        assert told in str(caught.value), text
    path.write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ConfigError, match="cannot be read as UTF-8"):
        read_certificates(path)
