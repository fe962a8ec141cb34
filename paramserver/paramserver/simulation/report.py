"""A prediction for a person, in lines, and for a program, as one object."""

import dataclasses
from typing import Any

from paramserver.simulation.bottleneck import Bottleneck
from paramserver.simulation.prediction import Answer, Question


@dataclasses.dataclass(frozen=True)
class Report:
    """is_measured: whether the time of a step was, on this machine. spent_s: how long the prediction took."""

    question: Question
    answer: Answer
    bottleneck: Bottleneck
    is_measured: bool
    spent_s: float

    def lines(self, shards_of_the_job: int) -> list[str]:
        question, answer, found = self.question, self.answer, self.bottleneck
        average = "a master" if question.servers == 1 else f"{question.servers} averaging servers"
        shards = question.job.schedule.shards.count
        instead = f" (the job has {shards_of_the_job:,})" if shards != shards_of_the_job else ""
        step = f"a step takes {_time(question.step_s)}" + (", measured here" if self.is_measured else "")
        lost = f"{answer.lost} times somebody was taken for lost, because signs of life came late"
        count = len(answer.round_s)
        rounds = "1 round" if count == 1 else f"{count:,} rounds"
        return [
            f"{question.workers:,} workers and {average}; {question.layout.parameters:,} parameters",
            f"{shards:,} shards{instead}, {answer.samples:,} samples a round; {step}",
            "",
            f"{'a round':20} {_time(answer.median_s)}, 95 % within {_time(answer.p95_s)}",
            f"{'samples a second':20} {answer.samples_per_s:,.0f}",
            *(f"{name:20} in use {100 * share:.0f} % of the time" for name, share in answer.busy.items()),
            *([f"{'losses':20} {lost}"] if answer.lost else []),
            "",
            f"What a round waits for: {found.text}.",
            f"What would help: {found.advice}.",
            f"{rounds} of {answer.messages:,.0f} messages; it took {self.spent_s:.0f} s.",
        ]

    def record(self) -> dict[str, Any]:
        question, answer, found = self.question, self.answer, self.bottleneck
        return {
            "workers": question.workers,
            "workers_per_host": question.workers_per_host,
            "servers": question.servers,
            "shards": question.job.schedule.shards.count,
            "parameters": question.layout.parameters,
            "bandwidth_bytes_a_second": question.bandwidth,
            "latency_seconds": question.latency_s,
            "step_seconds": question.step_s,
            "step_is_measured": self.is_measured,
            "round_seconds": {
                "median": answer.median_s,
                "p95": answer.p95_s,
                "all": list(answer.round_s),
            },
            "samples_a_round": answer.samples,
            "samples_a_second": answer.samples_per_s,
            "in_use": answer.busy,
            "messages_a_round": answer.messages,
            "losses": answer.lost,
            "bottleneck": {"resources": list(found.names), "text": found.text, "advice": found.advice},
            "seconds": round(self.spent_s, 3),
        }


def _time(seconds: float) -> str:
    """Three digits with a fitting unit."""
    unit, factor = next((pair for pair in (("s", 1.0), ("ms", 1e-3)) if seconds >= pair[1]), ("us", 1e-6))
    return f"{seconds / factor:.3g} {unit}"
