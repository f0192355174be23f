"""The image registry of the local AWS: the OCI distribution API on top of moto's ECR, with blobs on disk."""
