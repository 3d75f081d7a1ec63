# Writes adamw.json beside it: five steps of PyTorch's AdamW. Run as `python make_adamw.py` with torch 2.9.1.
import json, torch
torch.manual_seed(5)
cases = []
for n, lr, b1, b2, eps, wd, scale in [(37, 1e-3, 0.9, 0.95, 1e-8, 0.1, 1.0), (16, 3e-2, 0.9, 0.999, 1e-6, 0.0, 0.25)]:
    w = torch.nn.Parameter(torch.randn(n)); start = w.detach().tolist()
    opt = torch.optim.AdamW([w], lr=lr, betas=(b1, b2), eps=eps, weight_decay=wd)
    gradients, weights = [], []
    for step in range(5):
        g = torch.randn(n) * 10 ** (step - 2.0); g[3] = 0
        gradients.append(g.tolist()); w.grad = g * scale; opt.step(); weights.append(w.detach().tolist())
    s = opt.state[w]
    cases.append(dict(learning_rate=lr, beta1=b1, beta2=b2, epsilon=eps, weight_decay=wd, gradient_scale=scale,
                      start=start, gradients=gradients, weights=weights, m=s["exp_avg"].tolist(), v=s["exp_avg_sq"].tolist()))
json.dump(dict(source=f"torch.optim.AdamW, torch {torch.__version__}", cases=cases), open("adamw.json", "w"))
