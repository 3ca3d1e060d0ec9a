"""CenterFace: faces and five landmarks in one shot, on a map of a quarter of the size (Xu et al., arXiv:1911.03599)."""

from torch import Tensor, nn

# MobileNetV2 (Sandler et al., arXiv:1801.04381, table 2): expansion, channels, blocks, stride of the first block.
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
TAPS = (1, 2, 4)  # the stages whose maps the neck adds on its way up: 24, 32 and 96 channels at 1/4, 1/8 and 1/16
NECK = 24  # channels


class InvertedResidual(nn.Module):
    """Widen, filter each channel by itself, narrow; a short cut where the shape stays. Batch norm is in the weights."""

    def __init__(self, entering: int, leaving: int, expansion: int, stride: int) -> None:
        super().__init__()
        wide = entering * expansion
        layers: list[nn.Module] = []
        if expansion > 1:
            layers += [nn.Conv2d(entering, wide, 1), nn.ReLU()]
        layers += [nn.Conv2d(wide, wide, 3, stride, 1, groups=wide), nn.ReLU(), nn.Conv2d(wide, leaving, 1)]
        self.layers = nn.Sequential(*layers)
        self.short_cut = stride == 1 and entering == leaving

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if self.short_cut else y


class Up(nn.Module):
    """Double the size of the coarse map and add the backbone's map of that size."""

    def __init__(self, tapped: int) -> None:
        super().__init__()
        self.deconv = nn.ConvTranspose2d(NECK, NECK, 2, 2)
        self.lateral = nn.Conv2d(tapped, NECK, 1)
        self.relu = nn.ReLU()

    def forward(self, coarse: Tensor, tap: Tensor) -> Tensor:
        up: Tensor = self.relu(self.deconv(coarse)) + self.relu(self.lateral(tap))
        return up


class CenterFace(nn.Module):
    """images (B, 3, H, W) float32 RGB 0..255, H and W multiples of 32 -> four maps at H/4, W/4.

    heatmap (B, 1): the chance that a face has its centre in the cell. scale (B, 2): log of height and width, in cells.
    offset (B, 2): of the centre from the middle of the cell, y and x, in cells. landmarks (B, 10): five (y, x) as
    fractions of the box, from its upper left corner: eyes, nose tip, corners of the mouth, the image's left first.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 32, 3, 2, 1), nn.ReLU())
        self.stages = nn.ModuleList()
        channels = 32
        for expansion, leaving, blocks, stride in STAGES:
            entering = [channels, *[leaving] * (blocks - 1)]
            strides = [stride, *[1] * (blocks - 1)]
            stage = (InvertedResidual(c, leaving, expansion, s) for c, s in zip(entering, strides, strict=True))
            self.stages.append(nn.Sequential(*stage))
            channels = leaving
        self.top = nn.Sequential(nn.Conv2d(channels, NECK, 1), nn.ReLU())
        self.neck = nn.ModuleList(Up(STAGES[tap][1]) for tap in reversed(TAPS))
        self.smooth = nn.Sequential(nn.Conv2d(NECK, NECK, 3, 1, 1), nn.ReLU())
        self.heatmap = nn.Sequential(nn.Conv2d(NECK, 1, 1), nn.Sigmoid())
        self.scale = nn.Conv2d(NECK, 2, 1)
        self.offset = nn.Conv2d(NECK, 2, 1)
        self.landmarks = nn.Conv2d(NECK, 10, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x = self.stem(images)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        x = self.top(x)
        for up, tap in zip(self.neck, reversed(TAPS), strict=True):
            x = up(x, maps[tap])
        x = self.smooth(x)
        return self.heatmap(x), self.scale(x), self.offset(x), self.landmarks(x)
