"""The image of the service: built, kept as an OCI layout, pushed by digest."""

from mclass_tf.image.builder import BUILDERS, build
from mclass_tf.image.copying import Copied, copy
from mclass_tf.image.inputs import Inputs
from mclass_tf.image.layout import Image, Images
from mclass_tf.image.login import Login, log_in
from mclass_tf.image.registry import Pushed, Registry
from mclass_tf.image.revision import UNKNOWN, Revision, read_revision

__all__ = [
    "BUILDERS",
    "UNKNOWN",
    "Copied",
    "Image",
    "Images",
    "Inputs",
    "Login",
    "Pushed",
    "Registry",
    "Revision",
    "build",
    "copy",
    "log_in",
    "read_revision",
]
