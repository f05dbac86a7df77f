"""What tracing counts of each model at its own size, kept here so that a table needs no tracing.

Written by `python -m benchmarks.zoo`.
"""

from typing import NamedTuple


class Counted(NamedTuple):
    """Of one image.

    Attributes:
      activations: As `macs.count_activations`.
      products: Multiply-accumulates of attention, which `ModelInfo.macs` leaves out.
    """

    activations: int
    products: int


COUNTED: dict[str, Counted] = {
    "convnext_atto": Counted(3_811_240, 0),
    "convnext_base": Counted(28_751_848, 0),
    "convnext_base_iso": Counted(16_408_552, 0),
    "convnext_large": Counted(43_127_272, 0),
    "convnext_large_iso": Counted(43_553_768, 0),
    "convnext_small": Counted(21_564_136, 0),
    "convnext_small_iso": Counted(8_204_776, 0),
    "convnext_tiny": Counted(13_435_624, 0),
    "convnext_tiny_k3": Counted(13_435_624, 0),
    "convnext_tiny_k3_par16": Counted(11_424_664, 0),
    "convnext_tiny_k3_par2": Counted(12_363_112, 0),
    "convnext_tiny_k3_par3_8": Counted(12_094_984, 0),
    "convnext_tiny_k3_par4": Counted(11_826_856, 0),
    "convnext_tiny_k3_par8": Counted(11_558_728, 0),
    "convnext_tiny_k5": Counted(13_435_624, 0),
    "convnext_xlarge": Counted(57_502_696, 0),
    "deit_base": Counted(23_895_544, 715_327_488),
    "deit_small": Counted(11_948_272, 357_663_744),
    "inceptionnext_atto": Counted(3_631_880, 0),
    "inceptionnext_base": Counted(25_687_912, 0),
    "inceptionnext_base_384": Counted(75_483_112, 0),
    "inceptionnext_base_iso": Counted(14_715_112, 0),
    "inceptionnext_small": Counted(19_266_184, 0),
    "inceptionnext_small_iso": Counted(7_358_056, 0),
    "inceptionnext_tiny": Counted(11_984_392, 0),
    "inceptionnext_tiny_band13": Counted(11_984_392, 0),
    "inceptionnext_tiny_band7": Counted(11_984_392, 0),
    "inceptionnext_tiny_band9": Counted(11_984_392, 0),
    "inceptionnext_tiny_no_hband": Counted(11_716_264, 0),
    "inceptionnext_tiny_no_square": Counted(11_716_264, 0),
    "inceptionnext_tiny_no_vband": Counted(11_716_264, 0),
    "inceptionnext_tiny_ratio16": Counted(11_582_200, 0),
    "inceptionnext_tiny_ratio4": Counted(12_788_776, 0),
    "inceptionnext_tiny_sequential": Counted(11_984_392, 0),
    "metanext_attn_small_iso": Counted(11_873_896, 354_041_856),
    "metanext_identity_small_iso": Counted(6_850_024, 0),
    "metanext_pool_small_iso": Counted(6_850_024, 0),
    "poolformer_m36": Counted(22_015_720, 0),
    "poolformer_m48": Counted(29_165_800, 0),
    "poolformer_s12": Counted(5_532_904, 0),
    "poolformer_s24": Counted(10_675_944, 0),
    "poolformer_s36": Counted(15_818_984, 0),
    "regnety_16g": Counted(23_041_228, 0),
    "regnety_4g": Counted(12_287_200, 0),
    "regnety_8g": Counted(17_968_916, 0),
    "resnet101": Counted(16_232_936, 0),
    "resnet152": Counted(22_555_112, 0),
    "resnet50": Counted(11_114_984, 0),
    "roadmap_00_resnet50": Counted(11_114_984, 0),
    "roadmap_01_modern_recipe": Counted(11_114_984, 0),
    "roadmap_02_stage_ratio": Counted(11_416_040, 0),
    "roadmap_03_patchify_stem": Counted(10_813_928, 0),
    "roadmap_04_depthwise": Counted(10_813_928, 0),
    "roadmap_05_width_96": Counted(16_220_392, 0),
    "roadmap_06_inverted_bottleneck": Counted(23_031_784, 0),
    "roadmap_07_depthwise_first": Counted(13_303_912, 0),
    "roadmap_08_kernel_7": Counted(13_303_912, 0),
    "roadmap_09_gelu": Counted(13_303_912, 0),
    "roadmap_10_fewer_activations": Counted(13_303_912, 0),
    "roadmap_11_fewer_norms": Counted(13_303_912, 0),
    "roadmap_12_layer_norm": Counted(13_303_912, 0),
    "roadmap_13_convnext_tiny": Counted(13_435_624, 0),
    "swin_base": Counted(36_626_344, 304_869_376),
    "swin_small": Counted(27_470_008, 228_652_032),
    "swin_tiny": Counted(17_055_352, 140_141_568),
    "vanillanet_10": Counted(23_685_072, 0),
    "vanillanet_11": Counted(24_889_296, 0),
    "vanillanet_12": Counted(26_093_520, 0),
    "vanillanet_13": Counted(27_297_744, 0),
    "vanillanet_13_x1_5": Counted(40_945_616, 0),
    "vanillanet_13_x1_5_ada_pool": Counted(74_609_360, 0),
    "vanillanet_5": Counted(14_653_392, 0),
    "vanillanet_6": Counted(15_255_504, 0),
    "vanillanet_7": Counted(20_072_400, 0),
    "vanillanet_8": Counted(21_276_624, 0),
    "vanillanet_9": Counted(22_480_848, 0),
    "vit_base_384": Counted(101_561_464, 6_136_547_328),
}
