"""Losses: of meshes, so that fitted surfaces stay smooth; and of images."""

from .image import psnr, silhouette_iou, silhouette_iou_loss, ssim, total_variation
from .mesh import (
    chamfer_distance,
    edge_length_loss,
    flatten_loss,
    laplacian_loss,
    nearest_points,
    normal_consistency_loss,
)

__all__ = [
    "chamfer_distance",
    "edge_length_loss",
    "flatten_loss",
    "laplacian_loss",
    "nearest_points",
    "normal_consistency_loss",
    "psnr",
    "silhouette_iou",
    "silhouette_iou_loss",
    "ssim",
    "total_variation",
]
