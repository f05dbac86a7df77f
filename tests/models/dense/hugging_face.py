"""transformers' UperNet with a ConvNeXt backbone, the twin of ours."""

from tests.models.oracle import randomise

SHALLOW = (1, 1, 2, 1)


def configured(transformers, widths=(40, 80, 160, 320), depths=SHALLOW, **options):
    """Returns the config of an UperNet."""
    stages = [f"stage{i}" for i in (1, 2, 3, 4)]
    backbone = transformers.ConvNextConfig(
        hidden_sizes=list(widths), depths=list(depths), out_features=stages
    )
    return transformers.UperNetConfig(backbone_config=backbone, **options)


def twin(transformers, channels=16, num_labels=5, **options):
    """Returns transformers' UperNet, randomised, in evaluation mode."""
    import torch

    torch.manual_seed(0)
    config = configured(transformers, hidden_size=channels, num_labels=num_labels, **options)
    model = transformers.UperNetForSemanticSegmentation(config)
    with torch.no_grad():
        for value in model.parameters():
            if value.ndim > 1:  # the small initial values would hide the pooled maps
                value.normal_(std=value[0].numel() ** -0.5)
    return randomise(model)
