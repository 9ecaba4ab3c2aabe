"""k25's trainer and PyTorch on the same decoder, in turn: 6 layers, width 256, 8 heads, SwiGLU 704, vocabulary 4096,
6.92 M parameters, 16 sequences of 256 tokens, AdamW, f32, all cores.

    cargo bench -p k25-train --bench training_speed --no-run       # prints the program's path
    python bench/train/decoder.py PATH [--rounds 3] [--steps 8]

Each round runs both in processes of their own; the first step is left out. Needs PyTorch (CPU is enough).
"""

import argparse
import json
import re
import subprocess
import sys
import time

LAYERS, HIDDEN, HEADS, INNER, VOCAB, SEQUENCES, LEN = 6, 256, 8, 704, 4096, 16, 256


def torch_run(steps):
    import resource

    import torch
    import torch.nn.functional as F
    from torch import nn

    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    torch.manual_seed(0)

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.norm2 = nn.RMSNorm(HIDDEN, eps=1e-5), nn.RMSNorm(HIDDEN, eps=1e-5)
            self.qkv = nn.Linear(HIDDEN, 3 * HIDDEN, bias=False)
            self.out = nn.Linear(HIDDEN, HIDDEN, bias=False)
            self.gate_up = nn.Linear(HIDDEN, 2 * INNER, bias=False)
            self.down = nn.Linear(INNER, HIDDEN, bias=False)

        def forward(self, x, cos, sin):
            b, t, _ = x.shape
            q, k, v = self.qkv(self.norm1(x)).view(b, t, 3, HEADS, -1).permute(2, 0, 3, 1, 4)

            def rotate(x):
                even, odd = x.chunk(2, -1)
                return torch.cat([even * cos - odd * sin, odd * cos + even * sin], -1)

            context = F.scaled_dot_product_attention(rotate(q), rotate(k), v, is_causal=True)
            x = x + self.out(context.transpose(1, 2).reshape(b, t, HIDDEN))
            gate, up = self.gate_up(self.norm2(x)).chunk(2, -1)
            return x + self.down(F.silu(gate) * up)

    class Decoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(VOCAB, HIDDEN)
            self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
            self.norm = nn.RMSNorm(HIDDEN, eps=1e-5)
            self.head = nn.Linear(HIDDEN, VOCAB, bias=False)

        def forward(self, tokens, cos, sin):
            x = self.embed(tokens)
            for block in self.blocks:
                x = block(x, cos, sin)
            return self.head(self.norm(x))

    model = Decoder()
    pairs = HIDDEN // HEADS // 2
    angles = torch.arange(LEN)[:, None] * 10000 ** (-torch.arange(pairs) / pairs)
    cos, sin = angles.cos(), angles.sin()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1, betas=(0.9, 0.95))
    tokens = torch.randint(0, VOCAB, (SEQUENCES, LEN + 1))
    times = []
    for _ in range(steps + 1):
        begin = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        logits = model(tokens[:, :-1], cos, sin)
        loss = F.cross_entropy(logits.reshape(-1, VOCAB), tokens[:, 1:].reshape(-1))
        loss.backward()
        optimizer.step()
        times.append(time.perf_counter() - begin)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    count, rows = sum(p.numel() for p in model.parameters()), SEQUENCES * LEN
    times = times[1:]
    print(json.dumps(dict(mean=rows * len(times) / sum(times), best=rows / min(times), peak=peak, base=base,
                          parameters=count, torch=torch.__version__, threads=torch.get_num_threads())))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("k25", nargs="?", help="the built training_speed benchmark")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--torch-only", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.torch_only:
        return torch_run(args.steps)
    ours, theirs = [], []
    for _ in range(args.rounds):
        text = subprocess.run([args.k25, "decoder", str(args.steps)], capture_output=True, text=True, check=True).stdout
        found = re.search(r"mean (\d+) tok/s, best (\d+) tok/s.*peak memory (\d+) MB", text)
        ours.append(dict(mean=float(found[1]), best=float(found[2]), peak=float(found[3])))
        print("k25    ", text.strip())
        command = [sys.executable, __file__, "--torch-only", "--steps", str(args.steps)]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        theirs.append(json.loads(text))
        print("pytorch", text.strip())
    for key in ["mean", "best"]:
        a, b = (max(run[key] for run in runs) for runs in (ours, theirs))
        print(f"{key}: k25 {a:.0f} tok/s, PyTorch {b:.0f} tok/s, ratio {a / b:.2f}")
    a, b = (max(run["peak"] for run in runs) for runs in (ours, theirs))
    print(f"peak memory: k25 {a:.0f} MB, PyTorch {b:.0f} MB ({max(r['base'] for r in theirs):.0f} MB before the model), ratio {a / b:.2f}")


main()
