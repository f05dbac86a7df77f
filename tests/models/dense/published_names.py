"""Names and shapes of the arrays in published checkpoints, as their repositories make them.

Stated from the modules of mmsegmentation 0.x and 1.x, mmdetection, mmpretrain, and the authors'
repositories of ConvNeXt, Swin and PoolFormer. `Names` collects them; a module's arrays have its
shape in PyTorch.
"""

POOLS = (1, 2, 3, 6)


class Names(dict):
    """Shapes by name."""

    def weight(self, name, *shape, bias=True):
        """A convolution, a linear layer, or a norm of one dimension."""
        self[f"{name}.weight"] = shape
        if bias:
            self[f"{name}.bias"] = shape[:1]

    def batch_norm(self, name, channels):
        self.weight(name, channels)
        self[f"{name}.running_mean"] = self[f"{name}.running_var"] = (channels,)
        self[f"{name}.num_batches_tracked"] = ()

    def conv_module(self, name, dim, channels, size):
        """mmcv's ConvModule with BatchNorm."""
        self.weight(f"{name}.conv", channels, dim, size, size, bias=False)
        self.batch_norm(f"{name}.bn", channels)


def upernet(dims, channels, classes):
    """UPerHead, and FCNHead of 256 channels on the third map."""
    names, head = Names(), "decode_head"
    for i in range(len(POOLS)):
        names.conv_module(f"{head}.psp_modules.{i}.1", dims[3], channels, 1)
    names.conv_module(f"{head}.bottleneck", dims[3] + len(POOLS) * channels, channels, 3)
    for i in range(3):
        names.conv_module(f"{head}.lateral_convs.{i}", dims[i], channels, 1)
        names.conv_module(f"{head}.fpn_convs.{i}", channels, channels, 3)
    names.conv_module(f"{head}.fpn_bottleneck", 4 * channels, channels, 3)
    names.weight(f"{head}.conv_seg", classes, channels, 1, 1)
    names.conv_module("auxiliary_head.convs.0", dims[2], 256, 3)
    names.weight("auxiliary_head.conv_seg", classes, 256, 1, 1)
    return names


def semantic_fpn(dims, channels, classes):
    """FPN of 256 channels, and FPNHead."""
    names = Names()
    for i, dim in enumerate(dims):
        names.weight(f"neck.lateral_convs.{i}.conv", 256, dim, 1, 1)
        names.weight(f"neck.fpn_convs.{i}.conv", 256, 256, 3, 3)
        for j in range(max(1, i)):  # enlargements lie between
            scale = f"decode_head.scale_heads.{i}.{2 * j}"
            names.conv_module(scale, channels if j else 256, channels, 3)
    names.weight("decode_head.conv_seg", classes, channels, 1, 1)
    return names


def _pyramid(dims, channels, extra=()):
    """FPN without norms; `extra` are the inputs of convolutions of stride 2."""
    names = Names()
    for i, dim in enumerate(dims):
        names.weight(f"neck.lateral_convs.{i}.conv", channels, dim, 1, 1)
    for i, dim in enumerate([channels] * len(dims) + list(extra)):
        names.weight(f"neck.fpn_convs.{i}.conv", channels, dim, 3, 3)
    return names


def retinanet(dims, channels, classes):
    """FPN from the second map on, and RetinaHead of 9 anchors."""
    names = _pyramid(dims[1:], channels, (dims[3], channels))
    for tower in ("cls_convs", "reg_convs"):
        for i in range(4):
            names.weight(f"bbox_head.{tower}.{i}.conv", channels, channels, 3, 3)
    names.weight("bbox_head.retina_cls", 9 * classes, channels, 3, 3)
    names.weight("bbox_head.retina_reg", 9 * 4, channels, 3, 3)
    return names


def _rpn(dims, channels):
    names = _pyramid(dims, channels)
    names.weight("rpn_head.rpn_conv", channels, channels, 3, 3)
    names.weight("rpn_head.rpn_cls", 3, channels, 1, 1)
    names.weight("rpn_head.rpn_reg", 3 * 4, channels, 1, 1)
    return names


def _last_layers(names, stage, channels, classes, hidden=1024):
    """The ends of a box head, and FCNMaskHead."""
    box, mask = (f"roi_head.{kind}_head{stage}" for kind in ("bbox", "mask"))
    names.weight(f"{box}.shared_fcs.0", hidden, 49 * channels)
    names.weight(f"{box}.fc_cls", classes + 1, hidden)
    names.weight(f"{box}.fc_reg", 4 * classes, hidden)
    for i in range(4):
        names.weight(f"{mask}.convs.{i}.conv", channels, channels, 3, 3)
    names.weight(f"{mask}.upsample", channels, channels, 2, 2)
    names.weight(f"{mask}.conv_logits", classes, channels, 1, 1)


def mask_rcnn(dims, channels, classes):
    """FPN, RPNHead, Shared2FCBBoxHead, FCNMaskHead."""
    names = _rpn(dims, channels)
    _last_layers(names, "", channels, classes)
    names.weight("roi_head.bbox_head.shared_fcs.1", 1024, 1024)
    return names


def cascade_mask_rcnn(dims, channels, classes):
    """The same with three heads of each kind, ConvFCBBoxHead with four convolutions."""
    names = _rpn(dims, channels)
    for stage in range(3):
        for i in range(4):
            conv = f"roi_head.bbox_head.{stage}.shared_convs.{i}"
            names.conv_module(conv, channels, channels, 3)
        _last_layers(names, f".{stage}", channels, classes)
    return names


def _with_norms(names, dims, numbers=(0, 1, 2, 3)):
    for number, dim in zip(numbers, dims, strict=True):
        names.weight(f"backbone.norm{number}", dim)
    return names


def convnext(dims, depths, block=("dwconv", "norm", "pwconv1", "pwconv2")):
    names, (conv, norm, first, second) = Names(), block
    names.weight("backbone.downsample_layers.0.0", dims[0], 3, 4, 4)
    names.weight("backbone.downsample_layers.0.1", dims[0])
    for i, (dim, depth) in enumerate(zip(dims, depths, strict=True)):
        if i:
            names.weight(f"backbone.downsample_layers.{i}.0", dims[i - 1])
            names.weight(f"backbone.downsample_layers.{i}.1", dim, dims[i - 1], 2, 2)
        for j in range(depth):
            path = f"backbone.stages.{i}.{j}"
            names.weight(f"{path}.{conv}", dim, 1, 7, 7)
            names.weight(f"{path}.{norm}", dim)
            names.weight(f"{path}.{first}", 4 * dim, dim)
            names.weight(f"{path}.{second}", dim, 4 * dim)
            names[f"{path}.gamma"] = (dim,)
    return _with_norms(names, dims)


def mmpretrain_convnext(dims, depths):
    block = ("depthwise_conv", "norm", "pointwise_conv1", "pointwise_conv2")
    return convnext(dims, depths, block)


def _swin(dims, depths, stages, patches, attention, mlp):
    names = Names()
    names.weight(f"backbone.patch_embed.{patches}", dims[0], 3, 4, 4)
    names.weight("backbone.patch_embed.norm", dims[0])
    for i, (dim, depth) in enumerate(zip(dims, depths, strict=True)):
        for j in range(depth):
            path = f"backbone.{stages}.{i}.blocks.{j}"
            inside = f"{path}.{attention}"
            names.weight(f"{path}.norm1", dim)
            names[f"{inside}.relative_position_bias_table"] = (169, dim // 32)
            names[f"{inside}.relative_position_index"] = (49, 49)
            names.weight(f"{inside}.qkv", 3 * dim, dim)
            names.weight(f"{inside}.proj", dim, dim)
            names.weight(f"{path}.norm2", dim)
            names.weight(f"{path}.{mlp[0]}", 4 * dim, dim)
            names.weight(f"{path}.{mlp[1]}", dim, 4 * dim)
        if i < 3:
            end = f"backbone.{stages}.{i}.downsample"
            names.weight(f"{end}.norm", 4 * dim)
            names.weight(f"{end}.reduction", 2 * dim, 4 * dim, bias=False)
    return _with_norms(names, dims)


def swin(dims, depths):
    return _swin(dims, depths, "layers", "proj", "attn", ("mlp.fc1", "mlp.fc2"))


def mmseg_swin(dims, depths):
    mlp = ("ffn.layers.0.0", "ffn.layers.1")
    return _swin(dims, depths, "stages", "projection", "attn.w_msa", mlp)


def resnet(dims, depths, ratio=4, groups=1):
    """The ResNet of mmsegmentation, mmdetection and torchvision; with groups their ResNeXt."""
    names, before = Names(), 64
    names.weight("backbone.conv1", 64, 3, 7, 7, bias=False)
    names.batch_norm("backbone.bn1", 64)
    for i, (dim, depth) in enumerate(zip(dims, depths, strict=True), start=1):
        for j in range(depth):
            path, width = f"backbone.layer{i}.{j}", dim // ratio
            names.weight(f"{path}.conv1", width, before, 1, 1, bias=False)
            names.weight(f"{path}.conv2", width, width // groups, 3, 3, bias=False)
            names.weight(f"{path}.conv3", dim, width, 1, 1, bias=False)
            for k, size in enumerate((width, width, dim), start=1):
                names.batch_norm(f"{path}.bn{k}", size)
            if j == 0:
                names.weight(f"{path}.downsample.0", dim, before, 1, 1, bias=False)
                names.batch_norm(f"{path}.downsample.1", dim)
            before = dim
    return names


def resnext_32x4d(dims, depths):
    return resnet(dims, depths, ratio=2, groups=32)


def resnext_64x4d(dims, depths):
    return resnet(dims, depths, ratio=1, groups=64)


def resnet_v1c(dims, depths):
    """mmsegmentation's ResNetV1c, whose stem has three convolutions."""
    names = resnet(dims, depths)
    names = Names({k: v for k, v in names.items() if k.split(".")[1] not in ("conv1", "bn1")})
    for i, (before, dim) in enumerate(((3, 32), (32, 32), (32, 64))):
        names.weight(f"backbone.stem.{3 * i}", dim, before, 3, 3, bias=False)
        names.batch_norm(f"backbone.stem.{3 * i + 1}", dim)
    return names


def poolformer(dims, depths):
    names = Names()
    names.weight("backbone.patch_embed.proj", dims[0], 3, 7, 7)
    for i, (dim, depth) in enumerate(zip(dims, depths, strict=True)):
        for j in range(depth):
            path = f"backbone.network.{2 * i}.{j}"
            names[f"{path}.layer_scale_1"] = names[f"{path}.layer_scale_2"] = (dim,)
            names.weight(f"{path}.norm1", dim)
            names.weight(f"{path}.norm2", dim)
            names.weight(f"{path}.mlp.fc1", 4 * dim, dim, 1, 1)
            names.weight(f"{path}.mlp.fc2", dim, 4 * dim, 1, 1)
        if i < 3:
            names.weight(f"backbone.network.{2 * i + 1}.proj", dims[i + 1], dim, 3, 3)
    return _with_norms(names, dims, (0, 2, 4, 6))
