"""Writes adamw.json: five steps of PyTorch's AdamW on two vectors. Run with torch 2.9.1 in this folder:
python make_adamw.py"""
import json

import torch

CASES = [
    dict(learning_rate=1e-3, beta1=0.9, beta2=0.95, epsilon=1e-8, weight_decay=0.1, gradient_scale=1.0, size=37),
    dict(learning_rate=3e-2, beta1=0.9, beta2=0.999, epsilon=1e-6, weight_decay=0.0, gradient_scale=0.25, size=16),
]


def run(case):
    weight = torch.nn.Parameter(torch.randn(case.pop("size")))
    case["start"] = weight.detach().tolist()
    optimizer = torch.optim.AdamW([weight], lr=case["learning_rate"], betas=(case["beta1"], case["beta2"]),
                                  eps=case["epsilon"], weight_decay=case["weight_decay"])
    case["gradients"], case["weights"] = [], []
    for step in range(5):
        gradient = torch.randn(len(weight)) * 10 ** (step - 2.0)
        gradient[3] = 0
        case["gradients"].append(gradient.tolist())
        weight.grad = gradient * case["gradient_scale"]
        optimizer.step()
        case["weights"].append(weight.detach().tolist())
    state = optimizer.state[weight]
    return case | dict(m=state["exp_avg"].tolist(), v=state["exp_avg_sq"].tolist())


torch.manual_seed(5)
cases = [run(case) for case in CASES]
with open("adamw.json", "w") as file:
    json.dump(dict(source=f"torch.optim.AdamW, torch {torch.__version__}", cases=cases), file)
