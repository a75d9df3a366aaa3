"""Do forecasts keep what they promise? Coverage of 90 % intervals on held-out fifths, per LLM.

    python -m benchmarks.calibration --data DIR [--data DIR …] --splits 10

Writes benchmarks/results/calibration.json and prints the table of docs/benchmark.md.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from mixllm.encoders import StaticEncoder
from mixllm.evaluation.bench import one_thread
from mixllm.evaluation.splits import prepare, random_splits
from mixllm.learning.offline import LLMAppraisal, TrainingSet, appraise, train
from mixllm.logs import open_log
from mixllm.tags.sources import labels_from_column

RESULTS = Path(__file__).parent / "results" / "calibration.json"
FIELDS = LLMAppraisal.__struct_fields__


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", action="append", type=Path, required=True)
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    results: dict[str, Any] = {"splits": options.splits, "seed": options.seed, "datasets": {}}
    with one_thread():
        for folder in options.data:
            found = measure(folder, splits=options.splits, seed=options.seed)
            results["datasets"][open_log(folder).name] = found
            show(folder.name, found)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


def measure(folder: Path, *, splits: int, seed: int) -> dict[str, Any]:
    encoder = StaticEncoder.wordllama()
    dataset = prepare(open_log(folder), encoder=encoder)
    assert dataset.label is not None, "every log of the benchmark has a label"
    data = TrainingSet.from_log(
        dataset.log,
        encodings=dataset.encodings,
        token_ids=encoder.token_ids(dataset.texts),
        labels=labels_from_column(dataset.log.query_ids, dataset.log.labels[dataset.label], source=dataset.label),
        reference=dataset.reference,
    )
    place = {query_id: row for row, query_id in enumerate(dataset.log.query_ids)}
    found: dict[str, dict[str, list[float]]] = {llm: {field: [] for field in FIELDS} for llm in data.llms}
    accuracies = []
    for split in random_splits(dataset, splits=splits, seed=seed):
        rows = [np.array([place[query_id] for query_id in part.query_ids]) for part in (split.train, split.test)]
        model = train(data.select(rows[0]), base=encoder, rng=np.random.default_rng(split.seed))
        appraisal = appraise(model, data.select(rows[1]))
        accuracies.append(appraisal.tag_accuracy)
        for llm, result in appraisal.llms.items():
            for field in FIELDS:
                value = getattr(result, field)
                if value is not None:
                    found[llm][field].append(value)
    return {
        "tag_accuracy": float(np.mean([value for value in accuracies if value is not None])),
        "llms": {
            llm: {field: float(np.mean(values)) if values else None for field, values in fields.items()}
            for llm, fields in found.items()
        },
    }


def show(name: str, found: dict[str, Any]) -> None:
    print(f"\n### {name}: tags right {found['tag_accuracy']:.1%}\n")
    print("| LLM | " + " | ".join(field.replace("_", " ") for field in FIELDS) + " |")
    print("| --- |" + " --- |" * len(FIELDS))
    for llm, fields in found["llms"].items():
        cells = ["–" if fields[field] is None else f"{fields[field]:.3f}" for field in FIELDS]
        print(f"| {llm} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
