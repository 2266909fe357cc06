"""Records as JSON: complete, unchanged, and harmless when someone else wrote them."""

import json

import pytest
from conftest import make_result, make_spec

from poolstudy.errors import RecordTampered
from poolstudy.reproduce.record import RunRecord, TrialOutcome
from poolstudy.spec.records import digest_of

RECORD = RunRecord.model_validate(
    {
        "run_id": "0123456789abcdef0123456789abcdef",
        "name": "trial-0007",
        "spec": make_spec().model_dump(),
        "reached": TrialOutcome.of(make_result([0.5, 0.25])).model_dump(),
        "source": {"format": "digits", "name": "digits", "image_shape": (8, 8, 1), "class_names": ("0", "1")},
        "environment": {"threads": 1, "packages": {"keras": "3.15.1"}},
    }
)


@pytest.mark.parametrize(
    ("part", "key", "value", "message"),
    [
        *(("spec", "study", name, "study") for name in ("../up", "a/b", ".hidden", "")),
        *(
            ("environment", "threads", threads, "threads is .*, not a whole number from 1 to 1024")
            for threads in ("x", "2", 100_000, 1025, 0, -1, 1.5, True, None, [1])
        ),
    ],
)
def test_bad_values_are_refused_despite_a_matching_digest(part: str, key: str, value: object, message: str) -> None:
    content = RECORD.model_dump(mode="json")
    content[part][key] = value
    with pytest.raises(RecordTampered, match=message):
        RunRecord.from_json(json.dumps({"sha256": digest_of(content), **content}), "best.json")


def test_a_record_is_read_back_from_json() -> None:
    assert RunRecord.from_json(RECORD.to_json(), "best.json") == RECORD


def test_a_change_of_any_digit_is_refused() -> None:
    text = RECORD.to_json()
    positions = [position for position, letter in enumerate(text) if letter.isdigit()]
    assert len(positions) > 100
    for position in positions:
        changed = text[:position] + str((int(text[position]) + 1) % 10) + text[position + 1 :]
        with pytest.raises(RecordTampered):
            RunRecord.from_json(changed, "best.json")


@pytest.mark.parametrize("text", ["", "[]", "{}", "no JSON", json.dumps({"sha256": "0"}), '{"a": NaN}'])
def test_other_text_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(RecordTampered) as caught:
        RunRecord.from_json(text, "best.json")
    assert str(caught.value).startswith("best.json")
    assert "\n" not in str(caught.value)
