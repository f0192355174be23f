"""Builds the image of the service, stores it as an OCI layout, and pushes it by digest."""

from mclass_tf.image.builder import BUILDERS, build
from mclass_tf.image.copying import CopyResult, copy
from mclass_tf.image.inputs import Inputs
from mclass_tf.image.layout import Image, Images
from mclass_tf.image.login import Login, log_in
from mclass_tf.image.registry import PushResult, Registry
from mclass_tf.image.revision import UNKNOWN, Revision, read_revision

__all__ = [
    "BUILDERS",
    "UNKNOWN",
    "CopyResult",
    "Image",
    "Images",
    "Inputs",
    "Login",
    "PushResult",
    "Registry",
    "Revision",
    "build",
    "copy",
    "log_in",
    "read_revision",
]
