from __future__ import annotations

import pytest
from tests.cli.running import KEY, Serving, decide, invoke, output_of, refusal, run, stored


def test_a_score_is_stored(gateway: Serving) -> None:
    inference_id = decide(gateway.url, "What is 12 times 7?")["decision_id"]
    said = output_of(
        *("feedback", inference_id, "--quality", "0.8", "--url", gateway.url, "--source", "judge"),
        *("--tag", "team=blue", "--tag", "note=a=b", "--metric", "quality"),
    )
    assert (said["inference_id"], said["duplicate"]) == (inference_id, False)
    (judgement,) = stored(gateway.url, inference_id)["feedback"]
    assert (judgement["kind"], judgement["value"], judgement["source"]) == ("refined", 0.8, "judge")
    assert judgement["tags"] == [["note", "a=b"], ["team", "blue"]]


@pytest.mark.parametrize(("thumb", "value"), [("--up", 1.0), ("--down", 0.0)])
def test_a_thumb_is_stored(gateway: Serving, thumb: str, value: float) -> None:
    inference_id = decide(gateway.url, "Write a poem.")["decision_id"]
    done = run("feedback", inference_id, thumb, env={"MIXLLM_URL": gateway.url})
    assert (done.returncode, done.stdout) == (0, f"Feedback {inference_id}/user/quality is stored.\n")
    (judgement,) = stored(gateway.url, inference_id)["feedback"]
    assert (judgement["kind"], judgement["value"]) == ("binary", value)


@pytest.mark.parametrize("score", ["0", "1"])
def test_a_score_of_0_or_1_is_no_thumb(gateway: Serving, score: str) -> None:
    inference_id = decide(gateway.url, "Translate this.")["decision_id"]
    invoke("feedback", inference_id, "--quality", score, "--url", gateway.url)
    (judgement,) = stored(gateway.url, inference_id)["feedback"]
    assert (judgement["kind"], judgement["value"]) == ("refined", float(score))


def test_the_same_key_counts_once_and_another_judgement_conflicts(gateway: Serving) -> None:
    inference_id = decide(gateway.url, "Hello")["decision_id"]
    again = ["feedback", inference_id, "--idempotency-key", f"k-{inference_id}", "--url", gateway.url]
    assert output_of(*again, "--up") == {
        "feedback_id": f"k-{inference_id}",
        "inference_id": inference_id,
        "duplicate": False,
    }
    assert output_of(*again, "--up")["duplicate"] is True
    assert "was stored before, and counts once" in invoke(*again, "--up").stdout
    assert "already recorded with another content" in refusal(invoke(*again, "--down"))
    assert len(stored(gateway.url, inference_id)["feedback"]) == 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "exactly one of --quality, --up and --down"),
        (["--up", "--down"], "exactly one of"),
        (["--quality", "0.5", "--up"], "exactly one of"),
        (["--quality", "good"], "is not a valid float"),
        (["--up", "--tag", "blue"], "'blue' is not KEY=VALUE"),
        (["--up", "--tag", "=blue"], "is not KEY=VALUE"),
        (["--up", "--idempotency-key", "a\nb"], "must be printable ASCII"),
    ],
)
def test_wrong_usage_ends_with_2(arguments: list[str], expected: str) -> None:
    assert expected in refusal(invoke("feedback", "id", *arguments), code=2)


@pytest.mark.parametrize("score", ["1.2", "-0.1", "nan", "inf"])
def test_a_score_out_of_range_is_refused(score: str) -> None:
    message = refusal(invoke("feedback", "id", f"--quality={score}", "--url", "http://127.0.0.1:9"))
    assert "--quality must be between 0 and 1" in message


def test_an_unknown_inference_is_a_message(gateway: Serving) -> None:
    message = refusal(invoke("feedback", "no-such-id", "--up", "--url", gateway.url))
    assert "No decision 'no-such-id' is known" in message


def test_no_gateway_and_wrong_key_are_messages(guarded: Serving) -> None:
    assert "Start one: mixllm serve" in refusal(invoke("feedback", "id", "--up", "--url", "http://127.0.0.1:9"))
    message = refusal(run("feedback", "id", "--up", env={"MIXLLM_URL": guarded.url, "MIXLLM_API_KEY": "sk-wrong"}))
    assert "refuses the API key" in message
    assert "sk-wrong" not in message
    known = refusal(invoke("feedback", "id", "--up", "--url", guarded.url, env={"MIXLLM_API_KEY": KEY}))
    assert "No decision 'id' is known" in known
