"""ELIC (CVPR 2022): the tables and figures of its supplement."""

from __future__ import annotations

from dataclasses import replace

from lichen.lab.models.config import Distortion
from lichen.lab.papers.protocol import Comparison, Experiment, Reprint, Variant

_ELIC, _ELIC_SM = Variant("ELIC", "elic", over="vtm"), Variant("ELIC-sm", "elic-sm", over="vtm")
_CLIC = "clic2020-professional"

EXPERIMENTS = (
    Experiment(
        "elic-table3",
        "ELIC supplement, Table 3: BD-rate over VTM by PSNR and by MS-SSIM, points below 1 bpp",
        (
            replace(_ELIC, paper_percent=-7.88, paper_ms_ssim_percent=-12.73),
            replace(_ELIC_SM, paper_percent=-1.07, paper_ms_ssim_percent=-5.59),
        ),
        (
            Reprint("ELIC", "paper-elic2022_mse", -7.88, -12.73, ms_ssim_curve="paper-elic2022_ms-ssim"),
            Reprint("Minnen 2020", "paper-minnen2020-cc10_mse", 1.11),
            Reprint("Cheng 2020 [P], its authors' parallel model", "paper-cheng2020-parallel_mse", 3.89, -7.19),
            Reprint("Cheng 2020 [P], checkerboard", "paper-cheng2020-checkerboard-6M_mse", 3.89, -7.19),
            Reprint("Minnen 2018 [P], its authors' parallel model", "paper-minnen2018-parallel_mse", 20.0, 4.23),
            Reprint("Minnen 2018 [P], checkerboard", "paper-minnen2018-checkerboard_mse", 20.0, 4.23),
            Reprint("Cheng 2020 [S], trained by CompressAI", "compressai-cheng2020-anchor_mse_cuda", 3.35, -3.17),
            Reprint("Ballé 2018", "paper-bmshj2018-hyperprior", 40.85, 16.41),
            Reprint("Minnen 2018 [S]", "paper-mbt2018", 14.92, -0.68),
        ),
        bpp_max=1.0,
    ),
    Experiment(
        "elic-fig1-2",
        "ELIC supplement, Figures 1 and 2: curves on Kodak by PSNR and by MS-SSIM, with the high-rate models",
        (_ELIC, _ELIC_SM),
        high_rates=True,
    ),
    Experiment(
        "elic-fig3",
        "ELIC supplement, Figure 3: curves on CLIC Professional (--test: its 41 validation pictures)",
        (replace(_ELIC, over=f"{_CLIC}/vtm"), replace(_ELIC_SM, over=f"{_CLIC}/vtm")),
        high_rates=True,
        anchor=f"{_CLIC}/vtm",
        published=tuple(
            f"{_CLIC}/{name}"
            for name in (
                "vtm",
                "bpg_444_x265_ycbcr",
                "compressai-cheng2020-anchor_mse_cuda",
                "compressai-mbt2018_mse_cuda",
                "compressai-mbt2018-mean_mse_cuda",
                "compressai-bmshj2018-hyperprior_mse_cuda",
            )
        ),
    ),
    Experiment(
        "elic-fig4",
        "ELIC supplement, Figure 4: models trained for MS-SSIM, on Kodak by MS-SSIM",
        (replace(_ELIC, distortion=Distortion.MS_SSIM), replace(_ELIC_SM, distortion=Distortion.MS_SSIM)),
        comparisons=(Comparison("ELIC", "vtm", -50.0, "about half of the bit rate", by_ms_ssim=True),),
    ),
)
