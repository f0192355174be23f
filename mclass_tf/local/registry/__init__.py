"""The image registry of the local AWS: the OCI distribution API over moto's ECR, blobs on disk."""
