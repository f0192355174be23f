"""ECR: repositories, their policies and their images."""
