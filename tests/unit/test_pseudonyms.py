"""Re-identification of training people needs the secret of the study."""

import hashlib
import hmac
import stat

import pytest

from lib.cohort.placement import Placement
from lib.cohort.trained_people import describe_group, describe_people, ten_year_band
from lib.errors import ConfigError, ModelError
from lib.pseudonyms import (
    key_of,
    matching_secret,
    pseudonym,
    pseudonyms,
    read_secret,
    trained_on,
    write_secret,
)

SECRET, OTHER = bytes(range(32)), bytes(32)


def person(scan, subject, sex="F", age=61.0):
    return Placement(scan=scan, subject=subject, sex=sex, age=age, site="Uppsala", has_mask=True)


def test_a_pseudonym_is_hmac_sha256_by_its_definition():
    """RFC 2104: H(K xor opad, H(K xor ipad, text)) with K padded to the 64 bytes of a block."""
    key = SECRET + bytes(32)
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in key) + b"P001").digest()
    outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in key) + inner).hexdigest()
    assert pseudonym("P001", SECRET) == outer[:16] == hmac.digest(SECRET, b"P001", "sha256").hex()[:16]
    assert pseudonym("P001", SECRET) != pseudonym("P001", OTHER)


def test_the_order_of_pseudonyms_tells_nothing():
    names = [f"P{number:03}" for number in range(50)]
    assert pseudonyms(names, SECRET) == pseudonyms(names[::-1] + names, SECRET)
    assert len(set(pseudonyms(names, SECRET))) == 50


def test_a_secret_is_made_once_for_its_owner_alone(tmp_path):
    path = tmp_path / "study.secret"
    write_secret(path)
    secret = read_secret(path)
    assert len(secret) == 32 and stat.S_IMODE(path.stat().st_mode) == 0o600
    write_secret(path)
    assert read_secret(path) == secret
    write_secret(tmp_path / "other.secret")
    assert read_secret(tmp_path / "other.secret") != secret
    assert sorted(file.name for file in tmp_path.iterdir()) == ["other.secret", "study.secret"]


def test_a_secret_that_cannot_be_used_is_refused_with_advice(tmp_path):
    path = tmp_path / "study.secret"
    with pytest.raises(ConfigError, match="missing; it is made at the start of a run"):
        read_secret(path)
    path.write_bytes(SECRET[:31])
    with pytest.raises(ConfigError, match="expected 32 bytes, got 31; restore it"):
        read_secret(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_secret(tmp_path)


def test_the_secret_of_a_model_is_found_by_its_key(tmp_path):
    own, other, cut = tmp_path / "a.secret", tmp_path / "b.secret", tmp_path / "c.secret"
    own.write_bytes(SECRET)
    other.write_bytes(OTHER)
    cut.write_bytes(SECRET[:5])
    metadata = {"pseudonym_key": key_of(SECRET)}
    assert matching_secret(metadata, [tmp_path / "none", cut, other, own]) == SECRET
    assert matching_secret(metadata, [other]) is None
    assert SECRET.hex()[:16] != metadata["pseudonym_key"] != key_of(OTHER)


def test_a_person_who_trained_is_recognised_in_the_same_study_only():
    rows = [person("A1", "A"), person("A2", "A"), person("B", "B"), person("C", "C")]
    metadata = describe_people(rows, {"training": ["A1", "A2"], "validation": ["B"]}, SECRET, {})
    assert [trained_on(metadata, subject, SECRET) for subject in "ABC"] == [True, False, False]
    assert not trained_on(metadata, "A1", SECRET)  # a scan is not a person
    with pytest.raises(ModelError, match="not the one of the study that trained"):
        trained_on(metadata, "A", OTHER)


def test_people_are_described_in_numbers_and_pseudonyms():
    rows = [
        person("Ann-1", "Ann", "F", 27.5),
        person("Ann-2", "Ann", "F", 28.0),
        person("Bob-1", "Bob", "M", 90.0),
        person("Cid-1", "Cid", "", None),
        person("Dan-1", "Dan", "M", 50.0),
    ]
    facts = {"training": ["Bob-1", "Ann-1", "Ann-2", "Cid-1"], "validation": ["Dan-1"]}
    found = describe_people(
        rows, facts, SECRET, {"Ann-1": "0a1b", "Bob-1": "2c3d", "Dan-1": "4e5f", "X": "6a"}
    )
    assert found["images"] == {
        "training": pseudonyms(["0a1b", "2c3d"], SECRET),
        "validation": [pseudonym("4e5f", SECRET)],
    }
    assert not any(digest in str(found) for digest in ("0a1b", "2c3d", "4e5f"))
    assert found["training"] == pseudonyms(facts["training"], SECRET)
    assert found["validation"] == [pseudonym("Dan-1", SECRET)]
    assert found["people"]["training"] == {
        "people": 3,
        "scans": 4,
        "sexes": {"F": 1, "M": 1, "unknown": 1},
        "ages": {"youngest": "20-29", "oldest": "90+"},
        "pseudonyms": pseudonyms(["Ann", "Bob", "Cid"], SECRET),
    }
    assert not any(word in str(found) for word in ("Ann", "Bob", "Cid", "Dan", "Uppsala", "27.5", "28.0"))


def test_ages_stand_in_bands_of_ten_years():
    assert [ten_year_band(age) for age in (0, 9.9, 10, 69.9, 89.9, 90)] == [
        "0-9", "0-9", "10-19", "60-69", "80-89", "90+",
    ]  # fmt: skip
    assert describe_group([person("A", "A", age=None)], SECRET)["ages"] is None
