"""Images per second of lightly's SimCLR on a folder of PNGs; run by throughput.py in an environment that has lightly.

Uses lightly's own transform (per-image PIL, in loader workers), projection head and NT-Xent loss around the same kind
of network, float32, SGD. Prints one line of JSON.
"""

import argparse
import json
from time import perf_counter

import timm
import torch
from lightly.data import LightlyDataset
from lightly.loss import NTXentLoss
from lightly.models.modules import SimCLRProjectionHead
from lightly.transforms import SimCLRTransform
from torch import nn
from torch.utils.data import DataLoader


def main() -> None:
    """Train for about `--seconds` and print the rate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--bfloat16", action="store_true", help="autocast, where our run uses it too")
    given = parser.parse_args()
    transform = SimCLRTransform(input_size=given.size, cj_strength=0.5, gaussian_blur=0.0, normalize=None)
    loader = DataLoader(
        LightlyDataset(given.folder, transform=transform), batch_size=given.batch, shuffle=True, drop_last=True,
        num_workers=given.workers, persistent_workers=True,
    )  # fmt: skip
    encoder = network(given.encoder)
    width = encoder(torch.zeros(2, 3, given.size, given.size)).shape[1]
    head = SimCLRProjectionHead(width, width, 128)
    loss_of = NTXentLoss(temperature=0.5)
    optimizer = torch.optim.SGD([*encoder.parameters(), *head.parameters()], lr=0.06, momentum=0.9, weight_decay=5e-4)
    images, began = 0, 0.0
    for epoch in range(1000):
        for views, *_ in loader:
            with torch.autocast("cpu", torch.bfloat16, enabled=given.bfloat16):
                one, other = (head(encoder(view)) for view in views[:2])
                loss = loss_of(one.float(), other.float())
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            if epoch == 0:
                began = perf_counter()
                continue
            images += given.batch
            if perf_counter() - began > given.seconds:
                print(json.dumps({"images_per_second": images / (perf_counter() - began)}))
                return


def network(name: str) -> nn.Module:
    """Give timm's network with the stem for small images, or the layers of selfsup's `small`."""
    if name == "small":
        layers: list[nn.Module] = []
        for width_in, width, stride in ((3, 32, 1), (32, 64, 2), (64, 128, 2), (128, 192, 2), (192, 192, 1)):
            convolution = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
            layers += [convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = timm.create_model(name, num_classes=0)
    model.conv1 = nn.Conv2d(3, model.conv1.out_channels, 3, 1, 1, bias=False)
    model.maxpool = nn.Identity()
    return model


if __name__ == "__main__":
    main()
