"""T2T-ViT in PyTorch, from the paper's section 3, with the names of the authors' code."""

import torch
from torch import nn


class Performer(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(64)
        self.kqv, self.proj = nn.Linear(dim, 3 * 64), nn.Linear(64, 64)
        self.mlp = nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 64), nn.Dropout(0.0))
        w = nn.init.orthogonal_(torch.empty(32, 64)) * 32**0.5
        self.w = nn.Parameter(w, requires_grad=False)

    def positive(self, x):
        return torch.exp(x @ self.w.T - (x * x).sum(-1, keepdim=True) / 2) / 32**0.5

    def forward(self, x):
        key, query, value = self.kqv(self.norm1(x)).split(64, dim=-1)
        scores = self.positive(query) @ self.positive(key).mT  # [B, T, T], quadratic
        weights = scores / (scores.sum(-1, keepdim=True) + 1e-8)
        x = value + self.proj(weights @ value)
        return x + self.mlp(self.norm2(x))


class TokensToToken(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.attention1, self.attention2 = Performer(3 * 49), Performer(64 * 9)
        self.project = nn.Linear(64 * 9, dim)

    def forward(self, x):
        for size, stride, padding, layer in (
            (7, 4, 2, self.attention1),
            (3, 2, 1, self.attention2),
            (3, 2, 1, self.project),
        ):
            h, w = x.shape[2] // stride, x.shape[3] // stride
            patches = nn.functional.unfold(x, size, stride=stride, padding=padding)
            x = layer(patches.mT).mT.unflatten(2, (h, w))
        return x.flatten(2).mT


class Attention(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.qkv, self.proj = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim)

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (3, -1, 64)).permute(2, 0, 3, 1, 4)
        weights = (q @ k.mT * 64**-0.5).softmax(-1)
        return self.proj((weights @ v).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, 3 * dim), nn.Linear(3 * dim, dim)

    def forward(self, x):
        return self.fc2(nn.functional.gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn, self.mlp = Attention(dim), Mlp(dim)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class T2TViT(nn.Module):
    """Of 224 pixels."""

    def __init__(self, dim, depth, classes):
        super().__init__()
        self.tokens_to_token = TokensToToken(dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(self.sinusoids(197, dim), requires_grad=False)
        self.blocks = nn.Sequential(*(Block(dim) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, classes)

    @staticmethod
    def sinusoids(positions, dim):
        """Vaswani et al., section 3.5."""
        angles = torch.arange(positions)[:, None] / 10000 ** (torch.arange(0, dim, 2) / dim)
        return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)[None]

    def forward(self, x):
        x = self.tokens_to_token(x)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
        return self.head(self.norm(self.blocks(x))[:, 0])
