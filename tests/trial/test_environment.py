import pytest

from poolstudy.trial.environment import environment


def test_the_environment_is_recorded_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_VAR_db_password", "secret")
    monkeypatch.setenv("NVIDIA_API_KEY", "secret")
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    found = environment("CPU:0", 1)
    assert "secret" not in str(found)
    assert found["variables"]["TF_ENABLE_ONEDNN_OPTS"] == "0"  # type: ignore[index]
    assert found["packages"]["keras"] > "3"  # type: ignore[index]
    assert (found["device"], found["threads"]) == ("CPU:0", 1)
