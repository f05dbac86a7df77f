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
}
