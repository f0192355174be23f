"""The gate of image scans: what ECR found in an image, which of it is accepted for now, and what nobody knows."""

from mclass_tf.flows.scans.gate import ScanGate, require_clean, require_clean_scans
from mclass_tf.flows.scans.index import ImageIndex, ScannedImage
from mclass_tf.flows.scans.read import ScanPatience
from mclass_tf.flows.scans.read import read_scan as _scan
from mclass_tf.flows.scans.report import JudgedFinding, ScanReport
from mclass_tf.flows.scans.result import Fix, ScanFinding, ScanResult

__all__ = [
    "Fix",
    "ImageIndex",
    "JudgedFinding",
    "ScanFinding",
    "ScanGate",
    "ScanPatience",
    "ScanReport",
    "ScanResult",
    "ScannedImage",
    "_scan",
    "require_clean",
    "require_clean_scans",
]
