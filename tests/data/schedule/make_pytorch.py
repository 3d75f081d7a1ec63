#!/usr/bin/env python3
"""Writes pytorch.json: the programs of torch.distributed.pipelining's schedules for sizes that the CSV files beside it lack.

Made with torch 2.9.1. Only the functions that compute orders run; no process group, no model.
With --check PROGRAM, compares `PROGRAM schedule` with PyTorch over many more sizes instead.
"""
import json
import pathlib
import subprocess
import sys

from torch.distributed.pipelining import schedules as torch_schedules

CLASSES = {  # ours -> theirs
    "gpipe": "ScheduleGPipe",
    "interleaved_1f1b": "ScheduleInterleaved1F1B",
    "zb1p": "ScheduleInterleavedZeroBubble",
    "zbv": "ScheduleZBVZeroBubble",
    "dualpipev": "ScheduleDualPipeV",
}


def programs(name, ranks, stages_per_rank, micro_batches):
    """Rows of "2F0" and the like, without idle steps; None where PyTorch refuses the size."""
    made = object.__new__(getattr(torch_schedules, CLASSES[name]))
    made.pp_group_size = ranks
    made.n_local_stages = stages_per_rank
    made._n_microbatches = micro_batches
    made._num_stages = made.num_stages = ranks * stages_per_rank
    made.number_of_rounds = max(1, micro_batches // ranks)
    made.microbatches_per_round = micro_batches // made.number_of_rounds
    if name in ("interleaved_1f1b", "zb1p") and micro_batches % made.number_of_rounds:
        return None
    if name == "dualpipev" and micro_batches < 2 * ranks:
        return None
    if name == "gpipe":
        orders = made._get_pipeline_order()
    else:
        orders = {}
        for rank in range(ranks):
            made.rank = rank
            orders[rank] = made._calculate_single_rank_operations(rank)
    return [" ".join(str(action) for action in orders[rank] if action is not None) for rank in range(ranks)]


def sizes(ranks_max, micro_batches_max):
    for name in CLASSES:
        for ranks in range(1, ranks_max + 1):
            for stages in {"interleaved_1f1b": (2, 3), "zbv": (2,), "dualpipev": (2,)}.get(name, (1,)):
                for micro_batches in range(1, micro_batches_max + 1):
                    yield name, ranks, stages, micro_batches


def check(program):
    compared = 0
    for name, ranks, stages, micro_batches in sizes(6, 20):
        expected = programs(name, ranks, stages, micro_batches)
        command = [program, "schedule", name, "--ranks", str(ranks), "--micro-batches", str(micro_batches), "--csv"]
        ours = subprocess.run(command + ["--stages-per-rank", str(stages)], capture_output=True, text=True)
        if expected is None:
            continue
        rows = [" ".join(cell for cell in row.split(",") if cell) for row in ours.stdout.splitlines()]
        if rows != expected:
            sys.exit(f"{name} ranks {ranks} stages {stages} micro-batches {micro_batches}: {ours.stderr}\n{rows}\n{expected}")
        compared += 1
    print(f"{compared} schedules equal")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--check"]:
        check(sys.argv[2])
        sys.exit()
    chosen = [("gpipe", 3, 1, 4), ("interleaved_1f1b", 4, 2, 10), ("interleaved_1f1b", 3, 3, 2), ("interleaved_1f1b", 2, 3, 6),
              ("zb1p", 4, 1, 8), ("zb1p", 5, 1, 3), ("zbv", 1, 2, 3), ("zbv", 3, 2, 2), ("zbv", 5, 2, 12), ("dualpipev", 1, 2, 3),
              ("dualpipev", 3, 2, 6), ("dualpipev", 5, 2, 13)]
    lines = [json.dumps({"schedule": name, "ranks": ranks, "stages_per_rank": stages, "micro_batches": micro_batches,
                         "programs": programs(name, ranks, stages, micro_batches)})
             for name, ranks, stages, micro_batches in chosen]
    target = pathlib.Path(__file__).with_name("pytorch.json")
    target.write_text("[\n" + ",\n".join(lines) + "\n]\n")
